"""The head of the model card, which other programs read: https://huggingface.co/docs/hub/model-cards."""

import re
from typing import Any

import yaml

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.evaluation import Evaluation

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "macro_precision": "precision",
    "auroc": "roc_auc",
    "brier_score": "brier_score",
}  # the hub's names


def front_matter(title: str, license: str, dataset: Dataset, evaluation: Evaluation | None) -> str:
    """Write licence, task, tags and figures as YAML; the figures only of an evaluated model."""
    task = "image-classification" if dataset.has_images else "time-series-classification"
    head: dict[str, Any] = {
        "license": license.lower(),
        "library_name": "leyden",
        "pipeline_tag": task,
        "tags": ["pytorch", "lightning", "leyden"],
    }
    if evaluation:
        measured = {name: known for name, known in METRICS.items() if name in evaluation.metrics}
        figures = [
            {"type": known, "name": name.replace("_", " "), "value": evaluation.metrics[name]}
            for name, known in measured.items()
        ]
        data = {
            "name": dataset.folder,
            "type": re.sub(r"[^\w.-]+", "-", dataset.folder).strip("-") or "data",
            "split": "test",
            "revision": dataset.data_hash,
        }
        head["metrics"] = list(measured.values())
        head["model-index"] = [
            {"name": title, "results": [{"task": {"type": task}, "dataset": data, "metrics": figures}]}
        ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"
