"""The packed arrays are plain .npy files, whatever their length."""

import numpy as np
import pytest

from leyden.data.packed import ArrayWriter, read_split
from leyden.errors import UserError


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1234])
def test_appended_rows_come_back(tmp_path, count):
    rows = np.random.default_rng(0).integers(0, 256, (count, 3, 2, 1), np.uint8)
    writer = ArrayWriter(tmp_path / "rows.npy", (3, 2, 1))
    for row in rows:
        writer.append(row)
    writer.close()
    found = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert found.shape == rows.shape and found.dtype == np.uint8 and np.array_equal(found, rows)


def test_a_row_of_another_shape_is_our_mistake(tmp_path):
    writer = ArrayWriter(tmp_path / "rows.npy", (3, 2, 1))
    with pytest.raises(AssertionError):
        writer.append(np.zeros((2, 2, 1), np.uint8))
    writer.close()


def test_missing_split_names_the_verb(tmp_path):
    with pytest.raises(UserError, match="run `leyden prepare` first"):
        read_split(tmp_path, "train")
