"""Small artifacts of every stage, written in the stages' own formats, and a parser for the pages made from them."""

import base64
import csv
import io
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leyden.files import write_json
from leyden.stages.report import report

LABELS = ["ant", "bee", "cat"]
HOSTILE = ['<script>alert("x")</script>', "it's | a *label*", "d\u00e9j\u00e0 vu \U0001f41d"]
DUPLICATE_COLUMNS = ["kind", "path", "other", "label", "other_label", "split", "other_split"]
PER_CLASS = 4  # images of each class in each split
METHOD_METRICS = {
    "deletion_auc": 0.25,
    "insertion_auc": 0.75,
    "random_deletion_auc": 0.5,
    "random_insertion_auc": 0.375,
}
SPLITS = ("train", "val", "test")
STAGES = ("prepare", "train", "evaluate", "export", "explain")


def write_rows(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


class Artifacts:
    """The folders of five stages, for images (H, W, C); the first `num_errors` test images are predicted wrong."""

    def __init__(
        self, root: Path, labels: list[str], shape: tuple[int, int, int] = (6, 5, 1), num_errors: int = 2
    ) -> None:
        self.root, self.labels, self.shape = root, labels, shape
        self.truth = np.repeat(np.arange(len(labels)), PER_CLASS)
        is_error = np.arange(len(self.truth)) < num_errors
        self.predicted = np.where(is_error, (self.truth + 1) % len(labels), self.truth)
        self.paths = [f"{labels[label]}/{row}.png" for row, label in enumerate(self.truth)]
        for name in STAGES:
            (root / name).mkdir()
            getattr(self, f"write_{name}")(root / name)

    def write_prepare(self, folder: Path) -> None:
        for number, split in enumerate(SPLITS):
            images = np.random.default_rng(number).integers(0, 256, (len(self.truth), *self.shape), dtype=np.uint8)
            np.save(folder / f"{split}.images.npy", images)
            np.save(folder / f"{split}.targets.npy", self.truth)
        rows = [
            [path if split == "test" else f"{split} {path}", "", split, "", ""]
            for split in SPLITS
            for path in self.paths
        ]
        write_rows(folder / "manifest.csv", ["path", "label", "split", "sha256", "group"], rows)
        write_rows(folder / "duplicates.csv", DUPLICATE_COLUMNS, [])
        (folder / "contact").mkdir()
        for number in range(len(self.labels)):
            Image.new("RGB", (70, 70), "grey").save(folder / f"contact/{number}.png")
        rejected = [[f"{self.labels[0]}/broken {number}.png", "not an image"] for number in range(25)]
        write_rows(folder / "rejected.csv", ["path", "reason"], rejected)
        height, width, channels = self.shape
        report = {
            "labels": self.labels,
            "input": {
                "channels": channels,
                "image_size": [height, width],
                "mean": [0.5] * channels,
                "std": [0.25] * channels,
            },
            "counts": {split: dict.fromkeys(self.labels, PER_CLASS) for split in SPLITS},
            "rejected": 25,
            "bytes": 1234,
            "data_hash": "abc",
            "files": {
                "height": {"min": 3, "median": height, "max": 2400},
                "width": {"min": 3, "median": width, "max": 2400},
                "modes": {"L": 36},
            },
            "stored": "pixels, 30 of 36 images resized once",
        }
        write_json(folder / "report.json", report)

    def change_report(self, **entries: Any) -> None:
        """Change entries of prepare's report."""
        self.change_json("prepare/report.json", **entries)

    def change_json(self, name: str, **entries: Any) -> None:
        path = self.root / name
        write_json(path, json.loads(path.read_text()) | entries)

    def write_duplicates(self, kinds: list[str]) -> None:
        """Make the first test images, one per kind, duplicates of training images of the second class."""
        rows = [
            [
                kind,
                self.paths[row],
                f"train {self.paths[PER_CLASS + row]}",
                self.labels[0],
                self.labels[1],
                "test",
                "train",
            ]
            for row, kind in enumerate(kinds[:PER_CLASS])
        ]
        write_rows(self.root / "prepare/duplicates.csv", DUPLICATE_COLUMNS, rows)

    def write_train(self, folder: Path) -> None:
        metrics = {"val/accuracy": 0.75, "val/loss": 0.5, "epoch": 1, "parameters": 4321, "seconds": 12.3}
        write_json(folder / "metrics.json", metrics)
        columns = ["epoch", "step", "learning_rate", "train/loss", "val/accuracy", "val/loss"]
        rows = [[0, 5, 0.1, 2.0, 0.5, 1.0], [1, 10, 0.1, 1.5, "", ""], [2, 15, 0.1, 1.0, 0.75, 0.5]]
        write_rows(folder / "curves.csv", columns, rows)
        (folder / "config.yaml").write_text("seed_everything: 0\n# </pre> & co.\n")

    def write_evaluate(self, folder: Path) -> None:
        total, errors = len(self.truth), int((self.predicted != self.truth).sum())
        metrics = {
            "accuracy": 1 - errors / total,
            "auroc": 0.975,
            "calibration_error": 0.0625,
            "accuracy_low": 0.552,
            "accuracy_high": 0.953,
        }
        write_json(folder / "metrics.json", metrics | {"examples": total, "errors": errors, "confidence_level": 0.95})
        recall = Counter(self.truth[self.predicted == self.truth].tolist())
        rows = [[label, PER_CLASS, "", recall[number] / PER_CLASS, 0.5] for number, label in enumerate(self.labels)]
        (folder / "tables").mkdir(exist_ok=True)
        write_rows(folder / "tables/per_class.csv", ["label", "count", "precision", "recall", "f1"], rows)
        bins = [[0.65, 0.5, 2], [0.95, 1.0, total - 2]]
        write_rows(folder / "tables/calibration.csv", ["confidence", "accuracy", "count"], bins)
        rows = [
            [path, self.labels[label], self.labels[predicted], 0.6 + 0.001 * row]
            for row, (path, label, predicted) in enumerate(zip(self.paths, self.truth, self.predicted, strict=True))
        ]
        write_rows(folder / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)

    def write_export(self, folder: Path) -> None:
        shared = {
            "precision": "fp32",
            "bytes": 2_000_000,
            "status": "checked",
            "reason": "",
            "agreement": 1.0,
            "score_name": "accuracy",
            "score": 0.8,
        }
        keys = ("format", "file", "max_abs_diff", "latency_ms_b1_p50", "latency_ms_b64_p50")
        rows = [("onnx", "model.onnx", 2e-6, 0.5, 4.0), ("eager", "", 0.0, 4.0, 20.0)]
        write_json(folder / "report.json", [shared | dict(zip(keys, row, strict=True)) for row in rows])

    def write_explain(self, folder: Path) -> None:
        metrics = METHOD_METRICS | {"randomisation_similarity": 0.125, "seconds_per_image": 0.002, "examples": 12}
        saliency = metrics | {"deletion_auc": 0.6}
        write_json(folder / "metrics.json", {"saliency": saliency, "integrated_gradients": metrics})
        rows = [[self.paths[0], self.labels[0], self.labels[1], 0.6, "wrong", "00.png"]]
        write_rows(folder / "examples.csv", ["path", "label", "prediction", "confidence", "chosen", "file"], rows)
        for name in ("00.png", "00-saliency.png", "00-integrated_gradients.png"):
            Image.fromarray(np.full((160, 120, 3), 99, dtype=np.uint8)).save(folder / name)

    def report(self, **options: Any) -> tuple[str, str]:
        """Write the report; return index.html and the model card."""
        folders: dict[str, Any] = {name: self.root / name for name in STAGES}
        report(**folders, out=self.root / "report", **options)
        return self.read("index.html"), self.read("model_card.md")

    def data_page(self, **options: Any) -> str:
        """Write the report; return data.html."""
        self.report(**options)
        return self.read("data.html")

    def read(self, name: str) -> str:
        return (self.root / "report" / name).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.script = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.script += data
        elif self.cdata_elem is None:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def attributes(self, tag: str, name: str) -> list[str | None]:
        """Return an attribute of every tag of a kind."""
        return [attrs[name] for kind, attrs in self.tags if kind == tag]


def decode_png(uri: str | None) -> np.ndarray:
    """Decode a `data:` URI to pixels (H, W, C)."""
    assert uri is not None
    assert uri.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
