"""The reader of sequences, and their packed form."""

import io

import numpy as np
import pytest

from leyden.data.sequences import Sequences, UnreadableSequenceError, pad, read_sequence


def npy(array) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


VALUES = np.arange(6, dtype=np.float64).reshape(3, 2)


@pytest.mark.parametrize(
    ("content", "file_type"),
    [
        (npy(VALUES), "float64"),
        (npy(VALUES.astype(np.int16)), "int16"),
        (npy(np.asfortranarray(VALUES)), "float64"),
        (npy(VALUES.astype(">f4")), ">f4"),
        (b"0,1\n2,3\n4,5\n", "csv"),
        (b"\xef\xbb\xbfx,y\r\n0,1\r\n2,3\r\n4,5\r\n", "csv"),
        (b"0;1\n2;3\n4;5", "csv"),
        (b"left\tright\n0\t1\n2\t3\n4\t5", "csv"),
        (b"\n0,1\n2,3\n4,5\n", "csv"),
    ],
)
def test_a_sequence_is_the_same_in_every_file_format(content, file_type):
    values, actual_type = read_sequence(content)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    assert actual_type == file_type
    assert np.array_equal(values, VALUES)


@pytest.mark.parametrize("content", [npy(np.arange(3.0)), b"0\n1\n2\n", b"value\n0\n1\n2\n"])
def test_one_number_per_step_is_one_feature(content):
    assert read_sequence(content)[0].tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(VALUES)[:-1], "truncated: 47 of 48 bytes"),
        (npy(VALUES)[:9], "damaged .npy header"),
        (npy(VALUES).replace(b"(3, 2)", b"(9" + b"9" * 12 + b", 2)", 1)[:300], "header|truncated"),
        (npy(np.array([{"a": 1}], dtype=object)), "values of type object"),
        (npy(np.array(["a", "b"])), "values of type <U1"),
        (npy(np.ones((2, 2), complex)), "values of type complex128"),
        (npy(np.ones((2, 2, 2))), r"shape \(2, 2, 2\)"),
        (npy(np.float32(1)), r"shape \(\)"),
        (npy(np.ones((0, 2))), r"shape \(0, 2\)"),
        (npy(np.array([[1.0], [np.nan]])), "step 1 holds NaN"),
        (npy(np.array([[1.0], [1e300]])), "step 1 holds"),
        (b"1,2\n3\n", "number of columns"),
        (b"1,2\n3,x\n", "could not convert"),
        (b"1,2\n3,inf\n", "step 1 holds"),
        (b"left,right\n", "no row of numbers"),
        (b"\n", "no row of numbers"),
        (b"1,NA\n3,4\n", "the first line has numbers and 'NA'"),
        (b"1,2 # kg\n3,4\n", "the first line has numbers and '2 # kg'"),
        (b"1,5;2;3\n4;5;6\n", "the first line has numbers and '1,5'"),
        (b"\xff\xfe\x00binary", "neither .npy nor text"),
    ],
)
def test_unusable_files_have_a_reason(content, reason):
    with pytest.raises(UnreadableSequenceError, match=reason):
        read_sequence(content)


def test_too_little_memory_is_a_reason(monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "loadtxt", fail)
    with pytest.raises(UnreadableSequenceError, match="not enough memory"):
        read_sequence(b"1,2\n")


def test_a_large_text_takes_little_memory():
    resource = pytest.importorskip("resource")
    content = b"1,2,3,4,5,6,7,8\n" * 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_sequence(content)[0].shape == (2_000_000, 8)
    values_kb = 2_000_000 * 8 * (8 + 4) / 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.5 * values_kb


def test_numbered_columns_after_a_blank_cell_are_a_header():
    assert read_sequence(b",0,1\n0,5,6\n1,7,8\n")[0].tolist() == [[0, 5, 6], [1, 7, 8]]


def test_a_batch_is_padded_with_zeros():
    values, lengths = pad([np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32)])
    assert values.shape == (2, 4, 3)
    assert lengths.tolist() == [2, 4]
    assert values[0].sum() == 6
    assert values[0, 2:].sum() == 0
    assert values[1].min() == 2


def test_no_rows_are_an_empty_batch():
    """The last batch of a split may have no rows for a process."""
    values, lengths = Sequences(np.zeros((5, 2), np.float32), np.array([0, 2, 5]))[np.array([], int)]
    assert values.shape == (0, 1, 2)
    assert lengths.shape == (0,)


def test_packed_sequences_are_read_back():
    parts = [np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32) for n in (3, 1, 5)]
    sequences = Sequences(np.concatenate(parts), np.array([0, 3, 4, 9]))
    assert len(sequences) == 3
    assert sequences.lengths.tolist() == [3, 1, 5]
    values, lengths = sequences[np.array([2, 0])]
    assert lengths.tolist() == [5, 3]
    assert np.array_equal(values[0], parts[2])
    assert np.array_equal(values[1, :3], parts[0])
    assert sequences[1:2].values.shape == (1, 1, 2)
