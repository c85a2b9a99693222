"""Targets of any task are read as the user meant them, or refused in one line that says what to do."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.cli import main
from leyden.data.packed import read_report
from tests.field.test_layouts import prepare, write_images

REFUSED_NAME = "expected a name in one line after target_"
COLLISION = "expected targets whose names are of no other column of predictions; got"


@pytest.fixture
def refusal_of(error_of: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """Return a function that prepares data, checks that nothing is left of the attempt, and returns the error."""

    def refuse(data: Path, *args: str) -> str:
        error = error_of("prepare", "--data", str(data), "--out", str(tmp_path / "out"), *args)
        assert [path.name for path in tmp_path.iterdir()] == [data.name]
        return error

    return refuse


def write_manifest(tmp_path: Path, header: str, cells: Sequence[str]) -> Path:
    """Write an image, and a row of the manifest, for each cell."""
    data = tmp_path / "data"
    write_images(data / "images", len(cells))
    rows = [f"images/{number}.png,{cell}" for number, cell in enumerate(cells)]
    (data / "manifest.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return data


def write_masks(tmp_path: Path, values: tuple[int, int] = (0, 1)) -> Path:
    data = tmp_path / "data"
    write_images(data / "images", 24)
    (data / "masks").mkdir()
    for number in range(24):
        mask = np.where(np.arange(144).reshape(12, 12) % (number + 3) == 0, values[1], values[0])
        Image.fromarray(mask.astype(np.uint8)).save(data / "masks" / f"{number}.png")
    return data


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1;2", "expected a finite number as target target; got '1;2'"),
        ("1e400", "expected a finite number as target target; got '1e400'"),
        ("3 kg", "expected a finite number as target target; got '3 kg'"),
        ("1e39", "expected targets target of at most 1e+30; got 1e39"),
    ],
)
def test_a_cell_that_is_no_number_that_a_model_computes_with_is_refused(cell, expected, tmp_path, refusal_of):
    assert expected in refusal_of(write_manifest(tmp_path, "path,target", [cell, *map(str, range(20))]))


@pytest.mark.parametrize("target", ["{}e-46", "100000000.000{:03}"])
def test_targets_that_are_equal_as_float32_are_refused(target, tmp_path, refusal_of):
    cells = [target.format(number) for number in range(24)]
    assert "every target is the same as a float32 number" in refusal_of(write_manifest(tmp_path, "path,target", cells))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("target_path,target_a", f"{COLLISION} path twice"),
        ("target_error,target_a", f"{COLLISION} error twice"),
        ("target_a_low,target_a", f"{COLLISION} a_low twice"),
        ("target_true_a,target_a", f"{COLLISION} true_a twice"),
        ("target_a,target_ a", f"{COLLISION} a twice"),
        ("target_,target_a", f"{REFUSED_NAME} in manifest.csv; got ''"),
        ('"target_a\nb",target_a', f"{REFUSED_NAME} in manifest.csv; got 'a\\nb'"),
        ("target,target_a", "expected target or target_*"),
    ],
)
def test_names_of_targets_are_those_of_no_other_column(columns, expected, tmp_path, refusal_of):
    assert expected in refusal_of(write_manifest(tmp_path, f"path,{columns}", [f"{n},{n * n}" for n in range(24)]))


def test_a_unit_is_one_line(tmp_path, refusal_of):
    data = write_manifest(tmp_path, "path,target", [str(number) for number in range(24)])
    assert r"expected units in one line; got 'a\nb'" in refusal_of(data, '--units={target: "a\\nb"}')


def test_a_dozen_numbers_are_enough_for_three_splits(tmp_path):
    report = prepare(write_manifest(tmp_path, "path,target", [str(number) for number in range(12)]))
    assert all(sum(counts.values()) for counts in report["counts"].values())


def test_a_column_of_grades_that_occurs_twice_is_refused(tmp_path, refusal_of):
    data = write_manifest(tmp_path, "path,grade", ["mild", "severe"] * 12)
    (data / "grades.csv").write_text("grade,grade\nmild,severe\nsevere,mild\n")
    assert "expected one column grade" in refusal_of(data)


def test_a_broken_link_to_the_order_of_grades_is_refused(tmp_path, refusal_of):
    data = write_manifest(tmp_path, "path,grade", ["1", "2"] * 12)
    (data / "grades.csv").symlink_to(tmp_path / "none")
    assert "grades.csv; got: No such file or directory" in refusal_of(data)


def test_a_broken_link_to_the_classes_of_masks_is_refused(tmp_path, refusal_of):
    data = write_masks(tmp_path)
    (data / "classes.csv").symlink_to(tmp_path / "none")
    assert "classes.csv; got: No such file or directory" in refusal_of(data)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("labels", "expected train examples of all labels; got none of '7' (7: "),
        ("grade", "expected train examples of all grades; got '7' only in test"),
    ],
)
def test_a_label_without_training_examples_is_called_what_the_task_calls_it(column, expected, tmp_path, refusal_of):
    cells = [f"{7 if n == 20 else n % 2},{'train' if n < 12 else 'val' if n < 18 else 'test'}" for n in range(24)]
    assert expected in refusal_of(write_manifest(tmp_path, f"path,{column},split", cells))


@pytest.mark.parametrize("value", [-1, 65536])
def test_the_ignored_value_is_one_that_masks_can_hold(value, tmp_path, refusal_of):
    expected = f"prepare.ignore_value must lie in [0, 65535]; got {value}"
    assert expected in refusal_of(write_masks(tmp_path), f"--ignore_value={value}")


def test_an_ignored_value_that_the_user_set_is_no_class(tmp_path, refusal_of):
    expected = "expected 2 to 255 classes of masks, besides the ignored one; got 1: 1"
    assert expected in refusal_of(write_masks(tmp_path), "--ignore_value=0")


def test_masks_of_0_and_255_have_two_classes(tmp_path):
    prepare(write_masks(tmp_path, (0, 255)))
    assert read_report(tmp_path / "out")["labels"] == ["0", "255"]


def test_labels_that_differ_by_an_invisible_character_are_named(tmp_path, capsys):
    prepare(write_manifest(tmp_path, "path,labels", ["cat\u200b;dog", "cat"] * 12))
    assert "labels whose names look alike: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "cells", "other"),
    [
        ("path,target", [str(number) for number in range(24)], "multilabel"),
        ("path,labels", ["cat;dog", "cat"] * 12, "classification"),
        ("path,grade", ["1", "2"] * 12, "segmentation"),
    ],
)
def test_data_whose_task_was_edited_is_refused_before_the_training(header, cells, other, tmp_path, error_of):
    prepare(write_manifest(tmp_path, header, cells))
    report = tmp_path / "out" / "report.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {"task": {"name": other}}))
    data = f"--data.init_args.folder={tmp_path / 'out'}"
    assert f"expected targets of {other} in" in error_of("fit", data, "--trainer.max_epochs=1")


@pytest.mark.parametrize(("header", "cells"), [("path,target", list("123456789012")), ("path,labels", ["a", ""] * 12)])
def test_data_with_one_target_or_label_has_a_report(header, cells, tmp_path):
    prepare(write_manifest(tmp_path, header, cells))
    folders = [f"--{stage}={tmp_path / 'none'}" for stage in ("train", "evaluate", "export", "explain")]
    assert main(["report", f"--prepare={tmp_path / 'out'}", f"--out={tmp_path / 'report'}", *folders]) == 0
