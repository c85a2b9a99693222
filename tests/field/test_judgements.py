"""The report page as a user reads it: its claims on little data, bad models, sequences and many classes."""

import json
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
    assert "78.5% of 65 test images classified correctly (95% interval 67.0% to 86.7%). No requirement was set." in text
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
    artifacts.change_json("train/metrics.json", epoch=0)
    text = text_of(artifacts, accuracy_low=0.252)
    assert "Not ready to ship" in text
    assert "What to try next" in text
    assert "validation accuracy of 75.0%: epoch 2 of 3 has the lowest val/loss." in text
    assert "The kept epoch is doubtful It lies inside the warm-up." in text
    assert "Keep another epoch: fit with --checkpoint.monitor=val/accuracy . Epoch 1 was kept, with a" in text


def test_robustness_is_stated_with_its_sample_and_intervals(tmp_path: Path) -> None:
    """Noise that changes nothing is not said to lower the accuracy."""
    artifacts = Artifacts(tmp_path, LABELS, num_errors=0)
    (artifacts.root / "evaluate/robustness").mkdir()
    columns = ["kind", "strength", "accuracy", "accuracy_low", "accuracy_high", "examples"]
    rows = [["noise", strength, 1.0, 0.72, 1.0, 10] for strength in (0.05, 0.1, 0.2)]
    write_rows(artifacts.root / "evaluate/robustness/accuracy.csv", columns, rows)
    text = text_of(artifacts, accuracy=1.0)
    evidence = (
        "worst under noise (0.05): 100.0% (95% interval 72.0% to 100.0%) on 10 random test images, against 100.0%"
    )
    assert evidence in text
    assert "Accuracy under corruptions and attacks on 10 random test images, with the 95% interval and the" in text
    assert "noise 100.0% 72.0% to 100.0%; at 0.05 100.0% 72.0% to 100.0%; at 0.1" in text
    assert "with their strength, on 10 random test images:" in artifacts.read("model_card.md")


def test_what_remains_if_the_model_abstains_has_intervals(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    bounds = {"abstain_coverage_low": 0.3, "abstain_coverage_high": 0.7, "abstain_precision_low": 0.6}
    metrics = {"abstain_below": 0.874, "abstain_coverage": 0.5, "abstain_precision": 1.0, "abstain_precision_high": 1.0}
    sentence = (
        "If the model does not answer below a confidence of 87.4%, it answers 50.0% of the test images (95% interval "
        "30.0% to 70.0%), and 100.0% of these answers are correct (95% interval 60.0% to 100.0%)."
    )
    assert sentence in text_of(artifacts, **metrics, **bounds)
    assert sentence in artifacts.read("model_card.md")


def test_a_model_that_never_answers_claims_no_precision(tmp_path: Path) -> None:
    assert "does not answer" not in text_of(Artifacts(tmp_path, LABELS), abstain_below=2.0, abstain_coverage=0.0)


@pytest.mark.parametrize(
    ("num_errors", "num_shown", "text"),
    [
        (0, 1, "made no errors on the test images. The least confident prediction:"),
        (1, 12, "1 test image classified incorrectly: "),
        (2, 1, "2 test images classified incorrectly. The most confident error:"),
        (2, 2, "2 test images classified incorrectly, the most confident first:"),
        (3, 2, "3 test images classified incorrectly. The 2 most confident errors:"),
    ],
)
def test_errors_are_counted_in_singular_and_plural(tmp_path: Path, num_errors: int, num_shown: int, text: str) -> None:
    page = Artifacts(tmp_path, LABELS, num_errors=num_errors).report(num_errors=num_shown)[0]
    assert text in Elements(page).text


def test_a_card_without_an_evaluation_does_not_claim_one(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    shutil.rmtree(artifacts.root / "evaluate")
    assert "valuated separately" not in artifacts.report()[1]


@pytest.mark.parametrize(
    ("difference", "text"), [(None, "infinite."), (1.5, "1.5 of the logits\u2019 standard deviation.")]
)
def test_a_refused_file_states_its_difference(tmp_path: Path, difference: float | None, text: str) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    rows = json.loads((artifacts.root / "export/report.json").read_text())
    refused = {"format": "onnx", "precision": "int8", "status": "refused", "reason": "", "agreement": 0.5}
    write_json(artifacts.root / "export/report.json", [*rows, refused | {"max_relative_diff": difference}])
    assert f"the largest logit difference is {text}" in Elements(artifacts.report()[0]).text


def test_confused_pairs_of_many_classes_are_all_listed_or_counted(tmp_path: Path) -> None:
    labels = [f"class {number:02d}" for number in range(31)]
    page = Elements(Artifacts(tmp_path, labels, shape=(4, 4, 1), num_errors=1).report()[0]).text
    assert "Classes that were confused, the most often first Actual Predicted Images Of the class" in page
    assert "class 00 class 01 1 25.0%" in page


def test_the_axis_of_one_epoch_has_a_whole_number(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    write_rows(artifacts.root / "train/curves.csv", ["epoch", "step", "train/loss", "val/loss"], [[0, 5, 2.0, 1.0]])
    artifacts.change_json("train/metrics.json", epoch=0)
    text = Elements(artifacts.report()[0]).text
    assert re.search(r"as on the console. 1 epoch [\d. ]+ Loss train val", text)


def test_missing_stages_are_named_in_one_sentence(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    shutil.rmtree(artifacts.root / "explain")
    assert "agrees with the checkpoint on every image; the model was not explained." in artifacts.report()[1]
