"""Packed arrays are valid .npy files of any length."""

import numpy as np
import pytest

from leyden.data.packed import ArrayWriter, read_split
from leyden.errors import UserError


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1234])
def test_appended_rows_are_read_back(tmp_path, count):
    rows = np.random.default_rng(0).integers(0, 256, (count, 3, 2, 1), np.uint8)
    writer = ArrayWriter(tmp_path / "rows.npy", (3, 2, 1))
    for row in rows:
        writer.append(row)
    writer.close()
    loaded = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert loaded.shape == rows.shape
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, rows)


def test_a_row_of_a_different_shape_fails_an_assertion(tmp_path):
    writer = ArrayWriter(tmp_path / "rows.npy", (3, 2, 1))
    with pytest.raises(AssertionError):
        writer.append(np.zeros((2, 2, 1), np.uint8))
    writer.close()


def test_missing_split_says_which_command_to_run(tmp_path):
    with pytest.raises(UserError, match="run `leyden prepare` first"):
        read_split(tmp_path, "train")
