"""A manifest.csv is read as the user meant it, or refused."""

import pytest

from tests.field.test_layouts import NFD, prepare, write_folders


@pytest.fixture
def refusal_of(error_of):
    return lambda data: error_of("prepare", "--data", str(data), "--out", str(data.with_name("out")))


def test_splits_of_a_manifest_have_any_spelling(tmp_path):
    data = write_folders(tmp_path / "data", ["cat", "dog"])
    splits = ["Train", "training ", "VALID", "dev", "Testing", "test"]
    rows = [f"{label}/{i}.png,{label},{split}" for label in ("cat", "dog") for i, split in enumerate(splits)]
    (data / "manifest.csv").write_text("Path, Label ,SPLIT\n" + "\n\n".join(rows) + "\n,,\n")
    assert [sum(counts.values()) for counts in prepare(data)["counts"].values()] == [4, 4, 4]


def test_the_manifest_has_any_case(tmp_path, refusal_of):
    data = write_folders(tmp_path / "data", ["a"], 40)
    rows = "".join(f'"a/{number}.png", "{"cat" if number % 2 else "dog"}"\n' for number in range(40))
    (data / "Manifest.CSV").write_text("path, label\n" + rows)
    assert prepare(data)["labels"] == ["cat", "dog"]
    (data / "manifest.csv").write_text("path,label\n")
    assert "expected one manifest.csv" in refusal_of(data)


def test_groups_that_look_the_same_are_named(tmp_path, capsys):
    data = write_folders(tmp_path / "data", ["cat", "dog"])
    rows = [f"{label}/{n}.png,{label},{'Pp'[n % 2]}{n // 2}" for label in ("cat", "dog") for n in range(20)]
    (data / "manifest.csv").write_text("path,label,group\n" + "\n".join(rows))
    prepare(data)
    assert "groups 'P0', 'p0' differ only by case; they stay different groups" in capsys.readouterr().err


def test_labels_of_a_manifest_that_look_the_same_are_one_class(tmp_path):
    data = write_folders(tmp_path / "data", ["a"], 40)
    labels = [NFD, "caf\u00e9 ", " dog\u00a0", "dog\ufeff"]
    rows = [f"a/{number}.png,{labels[number % 4]}" for number in range(40)]
    (data / "manifest.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    assert prepare(data)["labels"] == ["caf\u00e9", "dog"]


def test_paths_of_a_manifest_find_files_in_other_spellings(tmp_path):
    data = write_folders(tmp_path / "data", [NFD, "dog", "a\\b"])
    rows = [f"caf\u00e9/{number}.png,cat" for number in range(20)]
    rows += [f"dog\\{number}.png,dog" for number in range(20)]
    rows += [f"a\\b/{number}.png,dog" for number in range(20)]
    (data / "manifest.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    report = prepare(data)
    assert sum(counts["cat"] + counts["dog"] for counts in report["counts"].values()) == 60


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path;label\ncat/0.png;cat\n", "separated by commas"),
        ("path\tlabel\ncat/0.png\tcat\n", "separated by commas"),
        ("path,label,label\ncat/0.png,cat,dog\n", "got label twice"),
        ("path,label\ncat/0.png,cat, black\n", "row 2 has 3; put values that contain commas in quotes"),
        ("path,label\ncat\\..\\..\\0.png,cat\n", "expected relative paths"),
        ("path,label\nC:\\photos\\0.png,cat\n", "expected relative paths"),
        ("path,label,split\ncat/0.png,cat,holdout\n", "has 'holdout'"),
        ("path,label\n\ncat/0.png, \n", "row 3 lacks a label"),
        ("path,label\ncat/0,cat\n", "1 of 1 are missing (cat/0, where there is 'cat/0.png')"),
        ("path,label\nDog/0.PNG,cat\n", "(Dog/0.PNG, where there is 'dog/0.png')"),
        ("path,label\ncat/0.png,cat\0\n", "a NUL character"),
        ('path,label\ncat/0.png,"cat\ndog/0.png,dog\n', "unexpected end of data"),
        ('path,label\ncat/0.png,"cat\ndog/0.png,"dog"\n', "',' expected after"),
        ('path,label\ncat/0.png,"cat\nblack"\n', "no line breaks in a label, group or split"),
        ("path,label\ncat/.0.png,cat\n", "(cat/.0.png, which is hidden)"),
        ("path,label\n\n", "expected rows of path,label"),
    ],
)
def test_a_manifest_that_would_be_misread_is_refused(content, expected, tmp_path, refusal_of):
    data = write_folders(tmp_path / "data", ["cat", "dog"], 1)
    (data / "manifest.csv").write_text(content)
    assert expected in refusal_of(data)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_manifest_in_utf16_is_refused(encoding, tmp_path, refusal_of):
    data = write_folders(tmp_path / "data", ["cat", "dog"], 1)
    (data / "manifest.csv").write_bytes("\ufeffpath,label\ncat/0.png,cat\n".encode(encoding))
    assert "UTF-16; save it as CSV in UTF-8" in refusal_of(data)
