"""Which examples are of one group."""

from pathlib import Path

from leyden.data.groups import number_groups, read_groups


def test_examples_of_one_group_have_one_number():
    assert number_groups([("a", "x"), ("b", ""), ("c", "x"), ("d", "y"), ("x", "")]).tolist() == [0, 1, 0, 2, 3]


def test_without_two_examples_of_a_group_there_are_none():
    assert number_groups([("a", "x"), ("b", "y"), ("c", "")]) is None
    assert number_groups([]) is None


def test_groups_are_those_of_the_rows_of_a_split(tmp_path: Path):
    rows = ["path,split,group", "a,train,1", "b,test,1", "c,test,2", "d,val,2", "e,test,1"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    assert read_groups(tmp_path, "test").tolist() == [0, 1, 0]
    assert read_groups(tmp_path, "val") is None
