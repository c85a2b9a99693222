"""The report page as a user reads it: its claims on little data, bad models, sequences and many classes."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from leyden.files import write_json
from tests.stages.report.fake_artifacts import LABELS, STAGES, Artifacts, Elements, write_rows

SLICE_COLUMNS = [
    "by",
    "slice",
    "count",
    "errors",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "p_value",
    "falls_short",
]


def text_of(artifacts: Artifacts, **metrics: Any) -> str:
    artifacts.change_json("evaluate/metrics.json", **metrics)
    return Elements(artifacts.report()[0]).text


def write_slices(artifacts: Artifacts, rows: list[list[Any]]) -> None:
    (artifacts.root / "evaluate/errors").mkdir()
    write_rows(artifacts.root / "evaluate/errors/slices.csv", SLICE_COLUMNS, rows)


def test_a_score_without_a_target_is_not_called_ready(tmp_path: Path) -> None:
    text = text_of(
        Artifacts(tmp_path, LABELS), examples=65, errors=14, accuracy=0.785, accuracy_low=0.67, accuracy_high=0.867
    )
    assert "78.5% of 65 test images classified correctly (95% interval 67.0% to 86.7%). No target was set." in text
    assert not re.search("(ready|fit) to ship", text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("low", "high", "says"), [(0.03, 0.07, "Calibration cannot be judged"), (0.0505, 0.07, "Poorly calibrated")]
)
def test_calibration_is_judged_by_its_interval(tmp_path: Path, low: float, high: float, says: str) -> None:
    metrics = {"calibration_error": 0.051, "calibration_error_low": low, "calibration_error_high": high}
    text = text_of(Artifacts(tmp_path, LABELS), examples=370, **metrics)
    claims = [claim for claim in ("Calibration cannot be judged", "Poorly calibrated") if claim in text]
    assert claims == [says]


def test_slices_that_are_too_small_are_not_called_strong(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    write_slices(artifacts, [["class", label, 4, 4, 0, 0, 0.5, "", ""] for label in LABELS])
    text = text_of(artifacts)
    assert "No weak slice" not in text
    assert "None of 3 slices (by class) can be judged: with at most 4 images each" in text


def test_a_page_about_sequences_does_not_speak_of_images(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    artifacts.change_report(
        input={"features": 2, "mean": [0.0, 0.0], "std": [1.0, 1.0]},
        files={"length": {"min": 7, "median": 120, "max": 999}, "modes": {"csv": 36}},
    )
    for path in (artifacts.root / "prepare").glob("*.images.npy"):
        path.unlink()
    write_slices(artifacts, [["length", "7 to 99", 12, 2, 0.83, 0.5, 0.9, 0.5, "False"]])
    page, card = artifacts.report()
    for text in (Elements(page).text, card):
        assert "(by length)" in text
        assert not re.search("brightness|image|pixel", text.replace("image-classification", ""), re.IGNORECASE)


def test_epochs_are_counted_from_1_everywhere(tmp_path: Path) -> None:
    """The kept epoch is 1 in metrics.json, which counts from 0, and 2 of 3 on the console."""
    artifacts = Artifacts(tmp_path, LABELS)
    page, card = artifacts.report()
    text = Elements(page).text
    assert "the weights of epoch 2 were kept" in text
    assert "the weights of epoch 2, counted from 1, were kept" in card
    table = page[page.index("By epoch, counted from 1") :]
    assert re.findall(r'<tr><td class="number" data-sort="(\d+)">', table[: table.index("</table>")]) == ["1", "2", "3"]


def test_suspected_labels_are_no_more_than_expected(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    (artifacts.root / "evaluate/errors").mkdir()
    columns = ["split", "path", "label", "suggested", "label_probability", "suggested_probability", "wrong_probability"]
    path = artifacts.root / "evaluate/errors/suspects.csv"
    write_rows(path, columns, [["test", f"{n}.png", "ant", "bee", 0.3, 0.4, 0.002] for n in range(72)])
    assert "may be wrong" not in text_of(artifacts)
    write_rows(path, columns, [["test", f"{n}.png", "ant", "bee", 0.01, 0.9, 0.5] for n in range(6)])
    text = text_of(artifacts)
    assert "About 3 labels of the test and validation splits may be wrong." in text
    assert "Review the labels in errors/suspects.csv" in text


def test_a_page_without_a_model_says_so_once(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    for name in STAGES[1:]:
        shutil.rmtree(artifacts.root / name)
    page, card = artifacts.report()
    for text in (Elements(page).text, card):
        assert len(re.findall("No model", text)) == 1


def test_few_examples_of_many_classes_are_counted_and_not_listed(tmp_path: Path) -> None:
    labels = [f"class {number:03d}" for number in range(242)]
    text = text_of(Artifacts(tmp_path, labels, shape=(4, 4, 1)))
    assert "All 242 classes have fewer than 30 test images" in text
    assert "for example class 000 (4)" in text


def test_names_in_any_letters_are_text_in_the_confusion_matrix(tmp_path: Path) -> None:
    labels = ["\u72ac", "\u0643\u0644\u0628", "\u0441\u043e\u0431\u0430\u043a\u0430"]
    page = Artifacts(tmp_path, labels).report()[0]
    matrix = page[page.index('<table class="matrix') :]
    heads = re.findall(r'<th scope="col" title="[^"]+"><span>([^<]+)</span></th>', matrix[: matrix.index("</table>")])
    assert heads == labels


def test_files_that_were_left_out_are_shown(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    left_out = [{"reason": "unknown suffix .heic", "count": 20, "examples": ["ant/1.heic"]}]
    artifacts.change_report(left_out=left_out)
    assert "unknown suffix .heic 20 ant/1.heic, \u2026" in Elements(artifacts.data_page()).text
    assert "20 files left out" in Elements(artifacts.read("index.html")).text


def test_after_a_negative_verdict_the_page_says_what_to_try(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    kept = {"reason": "epoch 2 of 3 has the lowest val/loss", "warnings": ["it lies inside the warm-up"]}
    write_json(artifacts.root / "train/provenance.json", {"kept_epoch": kept})
    text = text_of(artifacts, accuracy_low=0.252)
    assert "Not ready to ship" in text
    assert "What to try next" in text
    assert "validation accuracy of 75.0%: epoch 2 of 3 has the lowest val/loss." in text
    assert "Keep another epoch: fit with --checkpoint.monitor=val/accuracy . It lies inside the warm-up." in text
