"""Prepared data that was damaged or edited is one line, in every stage that reads it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

VERBS = {
    "evaluate": ("--robustness=[]", "--model={trained}/artifacts/train/model.ckpt"),
    "report": ("--train=none", "--evaluate=none", "--export=none", "--explain=none"),
    "fit": (),
}


@pytest.fixture
def prepared(trained, tmp_path, monkeypatch) -> Path:
    """Return a copy of prepared digits in a new current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "artifacts/prepare", "artifacts/prepare")
    shutil.copytree(trained / "configs", "configs")
    return Path("artifacts/prepare")


@pytest.fixture
def refusal_of(trained, error_of):
    return lambda verb: error_of(verb, *(arg.format(trained=trained) for arg in VERBS[verb]))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"labels": ["a", "b"]}'])
def test_a_report_without_entries_is_refused(verb, content, prepared, refusal_of):
    (prepared / "report.json").write_text(content)
    assert "is missing or invalid" in refusal_of(verb)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("labels",), None),
        (("labels",), ["only one"]),
        (("input", "mean"), ["nan"]),
        (("input", "image_size"), [0, 8]),
        (("counts",), {"train": {}}),
        (("counts", "train", "3"), "many"),
        (("data_hash",), None),
        (("files",), 3),
        (("stored_size",), [8]),
    ],
)
def test_a_report_with_a_wrong_entry_is_refused(verb, keys, value, prepared, refusal_of):
    report = json.loads((prepared / "report.json").read_text())
    entries = report
    for key in keys[:-1]:
        entries = entries[key]
    entries[keys[-1]] = value
    (prepared / "report.json").write_text(json.dumps(report))
    line = refusal_of(verb)
    assert "run `leyden prepare` again" in line
    assert repr(keys[0] if keys[0] != "labels" or value is None else "counts") in line


@pytest.mark.parametrize(("verb", "split"), [("evaluate", "test"), ("fit", "train"), ("report", "train")])
@pytest.mark.parametrize("kind", ["images", "targets"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "text", "objects", "fewer", "missing"])
def test_a_damaged_array_is_refused(verb, split, kind, damage, prepared, refusal_of):
    path = prepared / f"{split}.{kind}.npy"
    content = path.read_bytes()
    path.unlink()
    if damage == "objects":
        np.save(path, np.array([{}, {}], dtype=object))
    elif damage == "fewer":
        np.save(path, np.zeros((5, 8, 8, 1) if kind == "images" else 5, np.uint8))
    elif damage != "missing":
        path.write_bytes({"empty": b"", "cut off": content[:-100], "text": b"text" * 100}[damage])
    assert "run `leyden prepare`" in refusal_of(verb)


@pytest.mark.parametrize("verb", ["evaluate", "report"])
@pytest.mark.parametrize("content", ["", "path;label;split\n0/0.png;0;train\n"])
def test_a_table_that_a_spreadsheet_saved_is_refused(verb, content, prepared, refusal_of):
    (prepared / "manifest.csv").write_text(content)
    line = refusal_of(verb)
    assert "manifest.csv; it lacks" in line and "run `leyden prepare` again" in line
