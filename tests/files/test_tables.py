"""Tables are opened in spreadsheets and read by later stages: names survive, and none becomes a formula."""

import csv

import pytest

from leyden.errors import UserError
from leyden.files import read_json, write_json
from leyden.files.names import printable
from leyden.files.tables import read_columns, read_table, to_cell, write_table

FORMULAS = ["=1+1", "+x", "-x", "@SUM(A1)", "-1+1", "-", "\uff1d1+1", "'=1", "''@x", "=a,b", '="x"', "-inf"]
PLAIN = ["-1", "+1.5", "-1.5e-3", "-.5", "cat", "'cat'", "it's", "a=b", "", "\u732b", "a,b", 'say "x"', "\u200dx", "0"]


@pytest.mark.parametrize("name", [*FORMULAS, *PLAIN])
@pytest.mark.parametrize("position", [0, 1])
def test_a_name_survives_in_any_column_and_as_a_column(tmp_path, name, position):
    columns = ["a", "b"]
    columns[position] = f"score:{name}"
    row = dict.fromkeys(columns, "1") | {columns[position]: name}
    write_table(tmp_path / "t.csv", [row], columns)
    assert read_table(tmp_path / "t.csv", "x") == [row]
    assert read_columns(tmp_path / "t.csv", "x", [columns[position]]) == [[name]]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_is_a_formula(tmp_path, name):
    write_table(tmp_path / "t.csv", [{"a": name, "b": "x"}, {"a": "x", "b": name}], ["a", "b"])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert cells == ["a", "b", f"'{name}", "x", "x", f"'{name}"]


@pytest.mark.parametrize("value", [*PLAIN, -1.5, -3, None, True])
def test_numbers_and_other_texts_are_written_unchanged(value):
    assert to_cell(value) == value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"caf\xe9".decode(errors="surrogateescape"), r"caf\xe9"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("png\u202egpj", r"png\u202egpj"),
        ("\ud800", r"\ud800"),
        ("a\\b \u732b \u200d", "a\\b \u732b \u200d"),
    ],
)
def test_what_cannot_be_printed_is_escaped(tmp_path, name, expected):
    assert printable(name) == expected
    write_table(tmp_path / "t.csv", [{"a": name}], ["a"])
    assert read_table(tmp_path / "t.csv", "x") == [{"a": expected}]
    assert printable(expected) == expected


def test_missing_values_are_blank_and_other_columns_left_out(tmp_path):
    write_table(tmp_path / "t.csv", [{"b": 1, "c": 2}], ["a", "b"])
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\r\n,1\r\n"


@pytest.mark.parametrize("content", [b"a,b\n\xff,1\n", b"a\n" + b"x" * 200_000])
def test_a_file_that_is_no_table_is_an_error(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match="expected a CSV file in UTF-8"):
        read_table(tmp_path / "t.csv", "x")


def test_a_table_that_is_cut_off_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n\n4,5\n")
    message = r"expected 3 cells in each row of .*t\.csv; got 2 in line 4; run `leyden x` again"
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / "t.csv", "x")
    with pytest.raises(UserError, match=message):
        read_columns(tmp_path / "t.csv", "x", ["a"])


def test_a_name_that_is_not_utf8_survives_in_json(tmp_path):
    name = b"caf\xe9 \xc3\xa9".decode(errors="surrogateescape")
    write_json(tmp_path / "t.json", {"path": name})
    assert read_json(tmp_path / "t.json", "x") == {"path": name}
