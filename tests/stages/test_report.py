"""The pages and the model card, from small artifacts written here in the stages' own formats; those of the data page are beside, in report/."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from leyden.errors import UserError
from leyden.files import write_json
from leyden.stages.report import report
from leyden.stages.report.templates import page_script

LABELS = ["ant", "bee", "cat"]
HOSTILE = ['<script>alert("x")</script>', "it's | a *label*", "d\u00e9j\u00e0 vu \U0001f41d"]
COPIES = ["kind", "path", "other", "label", "other_label", "split", "other_split"]
PER_CLASS = 4  # images of each class in each split
EVIDENCE = {"deletion_auc": 0.25, "insertion_auc": 0.75, "random_deletion_auc": 0.5, "random_insertion_auc": 0.375}


def write_rows(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


class Artifacts:
    """The five folders for some labels and an image shape (H, W, C); the first `num_errors` test images are taken for the next class."""

    def __init__(
        self, root: Path, labels: list[str], shape: tuple[int, int, int] = (6, 5, 1), num_errors: int = 2
    ) -> None:
        self.root, self.labels, self.shape = root, labels, shape
        self.truth = np.repeat(np.arange(len(labels)), PER_CLASS)
        self.guess = np.where(np.arange(len(self.truth)) < num_errors, (self.truth + 1) % len(labels), self.truth)
        self.paths = [f"{labels[label]}/{row}.png" for row, label in enumerate(self.truth)]
        for name in ("prepare", "train", "evaluate", "export", "explain"):
            (root / name).mkdir()
            getattr(self, f"write_{name}")(root / name)

    def write_prepare(self, folder: Path) -> None:
        for number, split in enumerate(("train", "val", "test")):
            images = np.random.default_rng(number).integers(0, 256, (len(self.truth), *self.shape), dtype=np.uint8)
            np.save(folder / f"{split}.images.npy", images)
            np.save(folder / f"{split}.labels.npy", self.truth)
        rows = [
            [path if split == "test" else f"{split} {path}", "", split, "", ""]
            for split in ("train", "val", "test")
            for path in self.paths
        ]
        write_rows(folder / "manifest.csv", ["path", "label", "split", "sha256", "group"], rows)
        write_rows(folder / "duplicates.csv", COPIES, [])
        (folder / "contact").mkdir()
        for number in range(len(self.labels)):
            Image.new("RGB", (70, 70), "grey").save(folder / f"contact/{number}.png")
        write_rows(
            folder / "rejected.csv",
            ["path", "reason"],
            [[f"{self.labels[0]}/broken {n}.png", "not an image"] for n in range(25)],
        )
        size = {
            "channels": self.shape[2],
            "image_size": list(self.shape[:2]),
            "mean": [0.5] * self.shape[2],
            "std": [0.25] * self.shape[2],
        }
        counts = {split: dict.fromkeys(self.labels, PER_CLASS) for split in ("train", "val", "test")}
        sides = {
            side: {"min": 3, "median": length, "max": 2400}
            for side, length in zip(("height", "width"), self.shape, strict=False)
        }
        report = {
            "labels": self.labels,
            "input": size,
            "counts": counts,
            "rejected": 25,
            "bytes": 1234,
            "data_hash": "abc",
        }
        write_json(
            folder / "report.json",
            report | {"files": sides | {"modes": {"L": 36}}, "stored": "pixels, 30 of 36 images resized once"},
        )

    def change_report(self, **entries: Any) -> None:
        """Change entries of prepare's report."""
        self.change_json("prepare/report.json", **entries)

    def change_json(self, name: str, **entries: Any) -> None:
        path = self.root / name
        write_json(path, json.loads(path.read_text()) | entries)

    def write_copies(self, kinds: list[str]) -> None:
        """Make each of the first test images, of the first class, a copy of a training image of the second, of the kind given."""
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
        write_rows(self.root / "prepare/duplicates.csv", COPIES, rows)

    def write_train(self, folder: Path) -> None:
        write_json(
            folder / "metrics.json",
            {"val/accuracy": 0.75, "val/loss": 0.5, "epoch": 1, "parameters": 4321, "seconds": 12.3},
        )
        header = ["epoch", "step", "learning_rate", "train/loss", "val/accuracy", "val/loss"]
        write_rows(
            folder / "curves.csv",
            header,
            [[0, 5, 0.1, 2.0, 0.5, 1.0], [1, 10, 0.1, 1.5, "", ""], [2, 15, 0.1, 1.0, 0.75, 0.5]],
        )
        (folder / "config.yaml").write_text("seed_everything: 0\n# </pre> & co.\n")

    def write_evaluate(self, folder: Path) -> None:
        total, errors = len(self.truth), int((self.guess != self.truth).sum())
        metrics = {
            "accuracy": 1 - errors / total,
            "auroc": 0.975,
            "calibration_error": 0.0625,
            "accuracy_low": 0.552,
            "accuracy_high": 0.953,
        }
        write_json(folder / "metrics.json", metrics | {"examples": total, "errors": errors, "confidence_level": 0.95})
        recall = Counter(self.truth[self.guess == self.truth].tolist())
        rows = [[label, PER_CLASS, "", recall[number] / PER_CLASS, 0.5] for number, label in enumerate(self.labels)]
        write_rows(folder / "per_class.csv", ["label", "count", "precision", "recall", "f1"], rows)
        write_rows(
            folder / "calibration.csv", ["confidence", "accuracy", "count"], [[0.65, 0.5, 2], [0.95, 1.0, total - 2]]
        )
        found = zip(self.paths, self.truth, self.guess, strict=True)
        rows = [
            [path, self.labels[label], self.labels[guess], 0.6 + 0.001 * row]
            for row, (path, label, guess) in enumerate(found)
        ]
        write_rows(folder / "predictions.csv", ["path", "label", "prediction", "confidence"], rows)

    def write_export(self, folder: Path) -> None:
        row = {
            "precision": "fp32",
            "bytes": 2_000_000,
            "status": "checked",
            "reason": "",
            "top1_agreement": 1.0,
            "accuracy": 0.8,
        }
        files = [("onnx", "model.onnx", 2e-6, 0.5, 4.0), ("eager", "", 0.0, 4.0, 20.0)]
        names = ("format", "file", "max_abs_diff", "latency_ms_b1_p50", "latency_ms_b64_p50")
        write_json(folder / "report.json", [row | dict(zip(names, file, strict=True)) for file in files])

    def write_explain(self, folder: Path) -> None:
        figures = EVIDENCE | {"randomisation_similarity": 0.125, "seconds_per_image": 0.002, "examples": 12}
        write_json(
            folder / "metrics.json", {"saliency": figures | {"deletion_auc": 0.6}, "integrated_gradients": figures}
        )
        rows = [[self.paths[0], self.labels[0], self.labels[1], 0.6, "wrong", "00.png"]]
        write_rows(folder / "examples.csv", ["path", "label", "prediction", "confidence", "chosen", "file"], rows)
        for name in ("00.png", "00-saliency.png", "00-integrated_gradients.png"):
            Image.fromarray(np.full((160, 120, 3), 99, dtype=np.uint8)).save(folder / name)

    def report(self, **options: Any) -> tuple[str, str]:
        """Make the page and the card."""
        folders: dict[str, Any] = {
            name: self.root / name for name in ("prepare", "train", "evaluate", "export", "explain")
        }
        report(**folders, out=self.root / "report", **options)
        return self.written("index.html"), self.written("model_card.md")

    def data_page(self, **options: Any) -> str:
        """Make all, and give the page of the data."""
        self.report(**options)
        return self.written("data.html")

    def written(self, name: str) -> str:
        return (self.root / "report" / name).read_text(encoding="utf-8")


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path, LABELS)


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its words."""

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


def test_page_answers_first(artifacts: Artifacts) -> None:
    artifacts.change_json("evaluate/metrics.json", accuracy_low=0.252)
    text = Elements(artifacts.report()[0]).text
    first, weighed = (
        text.index("Not fit to ship: 1 thing speaks against it."),
        text.index("Weigh The data is worth a look Fit to train on;"),
    )
    against = "Against 83.3% of 12 test images named rightly 95% interval 25.2% to 95.3%: no better than always giving the commonest label (33.3%)"
    exported = "For 1 exported file checked The exported file (onnx) agrees with the checkpoint on every image. The fastest, onnx, is 8.0\u00d7 as fast"
    assert first < text.index(against) < weighed < text.index(exported) < text.index("All about the data")


@pytest.mark.parametrize(
    ("figures", "side", "words"),
    [
        ({}, "Weigh", "What would be enough was not said: evaluate.require in configs/evaluate.yaml."),
        (
            {"required": {"accuracy": 0.7}},
            "Weigh",
            "meets what was required (accuracy 0.7), but on other images it might not.",
        ),
        ({"required": {"accuracy": 0.5}}, "For", "meets what was required: accuracy 0.5."),
    ],
)
def test_accuracy_is_judged_by_its_interval_against_what_was_required(
    artifacts: Artifacts, figures: dict[str, Any], side: str, words: str
) -> None:
    artifacts.change_json("evaluate/metrics.json", **figures)
    text = Elements(artifacts.report()[0]).text
    assert re.search(
        f"{side} 83.3% of 12 test images named rightly 95% interval 55.2% to 95.3%[.:;] {re.escape(words)}", text
    ), text[:900]


def test_nothing_exported_is_nothing_to_ship(artifacts: Artifacts) -> None:
    shutil.rmtree(artifacts.root / "export")
    assert "Not known to be fit to ship: there is no exported file to ship." in Elements(artifacts.report()[0]).text


def test_sections_hold_the_figures(artifacts: Artifacts) -> None:
    text = Elements(artifacts.report()[0]).text
    assert (
        "36 images of 3 classes from data : 12 train, 12 val, 12 test. Each is 6 \u00d7 5 pixels (height \u00d7 width), grey"
        in text
    )
    assert (
        "Fit to train on; 2 things are worth a look. Look 3 classes with fewer than 10 training images Look 25 files rejected (41.0%)"
        in text
    )
    assert "3 epochs in 12 s; the weights kept are those of epoch 1" in text
    assert "AUROC" in text and "0.975" in text
    assert "onnx fp32 model.onnx checked 2.00 MB 2.0e-06 100.0% 80.0% 0.5 ms 8.0\u00d7 4 ms 5.0\u00d7" in text
    assert "saliency 0.600 0.500 0.750 0.375 0.125 12 2 ms" in text
    assert "seed_everything: 0" in text and "Data hash abc" in text


def test_charts_are_drawn_and_told_in_words(artifacts: Artifacts) -> None:
    charts = [attrs["aria-label"] for tag, attrs in Elements(artifacts.report()[0]).tags if tag == "svg"]
    assert charts == [
        "loss by epoch: train from 2 to 1, val from 1 to 0.5",
        "accuracy by epoch: val from 0.5 to 0.75",
        "Reliability diagram: confidence 0.65, accuracy 0.50, 2 images; confidence 0.95, accuracy 1.00, 10 images",
    ]


def test_errors_are_shown_surest_first_with_their_own_images(artifacts: Artifacts) -> None:
    page, _ = artifacts.report(num_errors=1)
    shown = re.search(r'<ul class="gallery">(.*?)</ul>', page, re.DOTALL)
    assert shown and Elements(shown[1]).text == "ant taken for bee 60.1% sure ant/1.png"
    uri = next(attrs["src"] for tag, attrs in Elements(shown[1]).tags if tag == "img")
    with Image.open(io_of(uri)) as image:
        assert np.array_equal(np.asarray(image)[..., None], np.load(artifacts.root / "prepare/test.images.npy")[1])


def io_of(uri: str | None) -> io.BytesIO:
    assert uri and uri.startswith("data:image/png;base64,")
    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


def test_an_error_carries_the_map_of_the_best_trusted_method(artifacts: Artifacts) -> None:
    page, _ = artifacts.report()
    shown = [attrs["alt"] for tag, attrs in Elements(page[: page.index('id="weaknesses"')]).tags if tag == "img"]
    assert shown == ["Test image ant/1.png", "Test image ant/0.png", "Map of integrated gradients for ant/0.png"]
    figures = EVIDENCE | {"randomisation_similarity": 0.9, "seconds_per_image": 0.002, "examples": 12}
    write_json(artifacts.root / "explain/metrics.json", {"integrated_gradients": figures})
    page, _ = artifacts.report()
    assert (
        "Map of integrated gradients for ant/0.png" not in page
        and "Weigh No explanation can be trusted" in Elements(page).text
    )


def test_confusion_matrix_counts_actual_by_predicted(artifacts: Artifacts) -> None:
    matrix = re.search(r'<table class="matrix">.*?</table>', artifacts.report()[0], re.DOTALL)
    assert matrix and Elements(matrix[0]).text.endswith("ant bee cat ant 2 2 0 bee 0 4 0 cat 0 0 4")


def test_many_classes_give_pairs_and_no_matrix(tmp_path: Path) -> None:
    page, _ = Artifacts(tmp_path, [f"class {n:04d}" for n in range(1000)], shape=(4, 4, 3), num_errors=100).report()
    assert 'class="matrix"' not in page
    assert "The 20 of 25 pairs most often confused" in page
    assert len(page) < 2_000_000


def test_photographs_stay_small(tmp_path: Path) -> None:
    page, _ = Artifacts(tmp_path, LABELS, shape=(300, 200, 3)).report()
    assert "data:image/jpeg" in page and len(page) < 1_000_000


def test_without_errors_the_least_sure_are_shown(tmp_path: Path) -> None:
    text = Elements(Artifacts(tmp_path, LABELS, num_errors=0).report(num_errors=2)[0]).text
    assert (
        "made no error on the test images. The 2 right answers that it was least sure of: Hover, tap or focus" in text
    )
    assert "map ant 60.0% sure ant/0.png ant 60.1% sure ant/1.png" in text


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    page, card = Artifacts(tmp_path, HOSTILE).report(title=HOSTILE[0], data=Path("<b>data</b>"))
    elements = Elements(page)
    assert elements.script == page_script() and "<b>data" not in page
    assert all(label in elements.text for label in HOSTILE)
    head, body = card.removeprefix("---\n").split("\n---\n")
    assert yaml.safe_load(head)["model-index"][0]["name"] == HOSTILE[0]
    assert "<script>" not in body and r"it's \| a \*label\*" in body


def test_stages_that_were_not_run_are_said(artifacts: Artifacts) -> None:
    for name in ("evaluate", "export", "explain"):
        shutil.rmtree(artifacts.root / name)
    page, card = artifacts.report()
    text = Elements(page).text
    for what, verb in (("evaluated", "evaluate"), ("exported", "export"), ("explained", "explain")):
        assert f"This model was not {what}: leyden {verb} makes this section." in text
        assert f"This model was not {what}: `leyden {verb}` makes this section." in card
    assert "Not known to be fit to ship: it was not evaluated and there is no exported file to ship." in text
    assert "The model was not evaluated; it was not exported; it was not explained." in card


@pytest.mark.parametrize(
    ("gone", "verb"), [("prepare", "prepare"), ("train/curves.csv", "fit"), ("evaluate/predictions.csv", "evaluate")]
)
def test_missing_input_names_the_verb(artifacts: Artifacts, gone: str, verb: str) -> None:
    (artifacts.root / gone).rename(artifacts.root / "gone")
    with pytest.raises(UserError, match=f"run `leyden {verb}` first"):
        artifacts.report()
    assert not (artifacts.root / "report").exists()


def test_no_errors_at_all_cannot_be_asked_for(artifacts: Artifacts) -> None:
    with pytest.raises(UserError, match=r"report.num_errors must be at least 1; got 0"):
        artifacts.report(num_errors=0)


def test_predictions_of_other_images_are_refused(artifacts: Artifacts) -> None:
    artifacts.paths.reverse()
    artifacts.write_evaluate(artifacts.root / "evaluate")
    with pytest.raises(UserError, match="run `leyden evaluate` again"):
        artifacts.report()


def test_a_file_that_differs_is_said(artifacts: Artifacts) -> None:
    row = {"format": "pt2", "precision": "fp32", "file": "", "status": "failed", "reason": "no compiler"}
    write_json(artifacts.root / "export/report.json", [row])
    page, card = artifacts.report()
    assert "1 of 1 exported file not shown to agree with the checkpoint: pt2 (no compiler)" in page
    assert "Not every exported file was shown to agree" in card


def test_a_skipped_format_is_said_with_its_reason(artifacts: Artifacts) -> None:
    rows = json.loads((artifacts.root / "export/report.json").read_text())
    rows.append({"format": "aoti", "precision": "int8", "file": "", "status": "skipped", "reason": "no compiler"})
    write_json(artifacts.root / "export/report.json", rows)
    page, card = artifacts.report()
    assert (
        "The exported file (onnx) agrees with the checkpoint on every image; skipped: aoti int8 (no compiler)."
        in Elements(page).text
    )
    assert "skipped: aoti int8 (no compiler)" in card and "Not every exported file" not in card


def test_the_card_tells_programs_what_they_ask_for(artifacts: Artifacts) -> None:
    card = artifacts.report(license="Apache-2.0")[1]
    head = yaml.safe_load(card.removeprefix("---\n").split("\n---\n")[0])
    assert (head["license"], head["pipeline_tag"], head["metrics"]) == (
        "apache-2.0",
        "image-classification",
        ["accuracy", "roc_auc"],
    )
    result = head["model-index"][0]["results"][0]
    assert result["dataset"] == {"name": "data", "type": "data", "split": "test", "revision": "abc"}
    assert result["metrics"][1] == {"type": "roc_auc", "name": "auroc", "value": 0.975}
    headings = re.findall("^## (.+)$", card, re.MULTILINE)
    assert headings == [
        "Model Details",
        "Intended Use",
        "Factors",
        "Metrics",
        "Evaluation Data",
        "Training Data",
        "Quantitative Analyses",
        "Ethical Considerations",
        "Caveats and Recommendations",
    ]
    shutil.rmtree(artifacts.root / "evaluate")
    assert "model-index" not in artifacts.report()[1]


def test_the_licence_of_the_card_is_that_of_the_files() -> None:
    configs = [
        yaml.safe_load((Path(__file__).parents[2] / f"configs/{name}.yaml").read_text())
        for name in ("report", "export")
    ]
    assert configs[0]["license"] == configs[1]["license"]


def test_stale_data_is_said(artifacts: Artifacts) -> None:
    write_json(
        artifacts.root / "train/provenance.json",
        {"code_version": "1.2+g0", "data_hash": "old", "versions": {"torch": "9.9"}},
    )
    page, card = artifacts.report()
    assert (
        "The data was prepared anew after the training" in page
        and "torch 9.9" in page
        and "Code version: 1.2+g0" in card
    )


def test_same_input_gives_the_same_bytes(artifacts: Artifacts) -> None:
    assert artifacts.report() == artifacts.report() and artifacts.data_page() == artifacts.data_page()


@pytest.mark.parametrize("name", ["index.html", "data.html"])
def test_nothing_is_loaded_from_elsewhere(artifacts: Artifacts, name: str) -> None:
    artifacts.report()
    page = artifacts.written(name)
    for tag, attrs in Elements(page).tags:
        for source in ("src", "href", "xlink:href", "srcset", "poster"):
            assert tag == "a" or (attrs.get(source) or "#").startswith("#" if tag == "use" else ("#", "data:")), (
                tag,
                attrs,
            )
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_ids_are_unique_and_links_lead_somewhere(artifacts: Artifacts) -> None:
    artifacts.report()
    tags = {name: Elements(artifacts.written(name)).tags for name in ("index.html", "data.html")}
    ids = {name: [attrs["id"] for _, attrs in found if "id" in attrs] for name, found in tags.items()}
    assert all(len(set(found)) == len(found) for found in ids.values())
    links = [
        (name, attrs["href"].partition("#"))
        for name, found in tags.items()
        for tag, attrs in found
        if tag == "a" and attrs["href"]
    ]
    assert ("index.html", ("data.html", "#", "rejected")) in links and ("data.html", ("index.html", "", "")) in links
    assert all(not place or place in ids[page or name] for name, (page, _, place) in links)


def test_the_stage_needs_no_torch() -> None:
    code = "import sys, leyden.stages.report; print([m for m in ('torch', 'lightning', 'captum') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
