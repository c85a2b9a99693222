"""Class paths are collected at any depth, and imported or refused with a reason."""

from pathlib import Path

import pytest

from leyden.class_paths import class_paths_of, import_path


def test_import_path_returns_the_attribute():
    assert import_path("pathlib.Path") is Path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Path", "'Path' is not of the form package.module.Name"),
        ("", "'' is not of the form package.module.Name"),
        (".pathlib.Path", "'.pathlib.Path' is not of the form package.module.Name"),
        ("pathlib.", "'pathlib.' is not of the form package.module.Name"),
        ("nowhere.Path", "No module named 'nowhere'"),
        ("pathlib.Nothing", "module pathlib has no attribute 'Nothing'"),
        ("failing.Network", "failing fails with ZeroDivisionError: division by zero"),
        ("unreadable.Network", "unreadable fails with SyntaxError"),
    ],
)
def test_import_path_raises_import_error_with_the_reason(path, reason, tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text("1 / 0\n")
    (tmp_path / "unreadable.py").write_text("class\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as error:
        import_path(path)
    assert str(error.value).startswith(reason)


def test_class_paths_of_a_nested_specification():
    spec = {"class_path": "a.A", "init_args": {"layers": [{"class_path": "b.B"}, {"width": 8}], "class_path": 1}}
    assert class_paths_of(spec) == {"a.A", "b.B"}
