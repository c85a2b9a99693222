"""Bilinear interpolation, by hand."""

import numpy as np

from leyden.stages.sample.bilinear import ONE, bilinear

IMAGE = np.array([[0, 100], [200, 41]], np.uint8)


def read(row: float, column: float) -> int:
    return int(bilinear(IMAGE, np.array(int(row * ONE)), np.array(int(column * ONE))))


def test_at_the_pixels_it_is_the_image():
    steps = np.arange(2) * ONE
    assert bilinear(IMAGE, steps[:, None], steps[None, :]).tolist() == IMAGE.tolist()


def test_between_pixels_it_weights_them():
    assert read(0, 0.25) == 25
    assert read(0.5, 0) == 100
    assert read(0.5, 0.5) == 85  # of 85.25


def test_rounds_to_the_nearest():
    assert read(1, 1.25) == 31  # of 30.75


def test_outside_it_is_0():
    assert read(0, 1.5) == 50
    assert read(-1, 1) == 0
    assert read(100, 1) == 0
    assert read(1, -100) == 0
