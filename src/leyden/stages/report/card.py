"""The YAML front matter of the model card, which model hubs read.

Source: https://huggingface.co/docs/hub/model-cards.
"""

import re
from typing import Any

import yaml

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.measured import AnyEvaluation

HUB_METRICS = {  # name in metrics.json: name on the hub
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "macro_precision": "precision",
    "auroc": "roc_auc",
    "brier_score": "brier_score",
    "mae": "mae",
    "r2": "r_squared",
    "mean_iou": "mean_iou",
}


def front_matter(title: str, license: str, dataset: Dataset | None, evaluation: AnyEvaluation | None) -> str:
    """Return licence, tags and, if the data was prepared, task and metrics as YAML between two `---` lines."""
    task = name_task(dataset) if dataset else ""
    header: dict[str, Any] = {
        "license": license.lower(),
        "library_name": "leyden",
        **({"pipeline_tag": task} if task else {}),
        "tags": ["pytorch", "lightning", "leyden"],
    }
    if dataset and evaluation:
        names = dict.fromkeys((evaluation.headline, *HUB_METRICS))
        measured = {name: HUB_METRICS.get(name, name) for name in names if name in evaluation.metrics}
        metrics = [
            {"type": hub_name, "name": name.replace("_", " "), "value": evaluation.metrics[name]}
            for name, hub_name in measured.items()
        ]
        data = {
            "name": dataset.folder,
            "type": re.sub(r"[^\w.-]+", "-", dataset.folder).strip("-.") or "data",
            "split": "test",
            "revision": dataset.data_hash,
        }
        header["metrics"] = list(measured.values())
        header["model-index"] = [
            {"name": title, "results": [{"task": {"type": task or "other"}, "dataset": data, "metrics": metrics}]}
        ]
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n"


def name_task(dataset: Dataset) -> str:
    """Return the hubs' name of the task; empty if they have none."""
    if dataset.reader.predicts_numbers or dataset.reader.has_order:
        return ""
    if dataset.reader.is_dense:
        return "image-segmentation"
    return "image-classification" if dataset.has_images else "time-series-classification"
