"""Segmentation sample: the masks say where ink and block are in the images."""

import numpy as np
import pytest

from tests.stages.sample.files import pngs_in, read_csv, read_pngs

GROUND, INK, BLOCK, IGNORED = 0, 1, 2, 255


@pytest.fixture(scope="module")
def folder(sample_of):
    return sample_of("segmentation")


@pytest.fixture(scope="module")
def images(folder):
    return read_pngs(folder / "images", pngs_in(folder / "images"))


@pytest.fixture(scope="module")
def masks(folder):
    return read_pngs(folder / "masks", pngs_in(folder / "masks"))


def contrast(images: np.ndarray, masks: np.ndarray, value: int) -> np.ndarray:
    """Return how much brighter a class is than the ground, in each image that has it."""
    present = (masks == value).any((1, 2))
    inside = np.ma.masked_array(images, masks != value).mean((1, 2))
    outside = np.ma.masked_array(images, masks != GROUND).mean((1, 2))
    return (inside - outside)[present].filled()


def test_each_image_has_its_mask(folder, images, masks):
    assert pngs_in(folder / "images") == pngs_in(folder / "masks")
    assert images.shape == masks.shape == (600, 32, 32)


def test_classes_are_named(folder):
    names = {row["value"]: row["name"] for row in read_csv(folder / "classes.csv")}
    assert names == {"0": "ground", "1": "ink", "2": "block"}


def test_masks_hold_the_classes_and_a_thin_uncertain_edge(masks):
    values, counts = np.unique(masks, return_counts=True)
    assert values.tolist() == [GROUND, INK, BLOCK, IGNORED]
    assert np.allclose(counts / masks.size, [0.79, 0.10, 0.05, 0.06], atol=0.01)
    assert (masks == INK).any((1, 2)).all()
    assert 0.9 < (masks == BLOCK).any((1, 2)).mean() < 1


@pytest.mark.parametrize("value", [INK, BLOCK])
def test_masks_lie_where_the_brightness_is(images, masks, value):
    """A mask that is moved by one pixel in any direction fits less well."""
    here = contrast(images, masks, value)
    assert here.min() > 15
    for axis in (1, 2):
        for shift in (-1, 1):
            assert contrast(images, np.roll(masks, shift, axis), value).mean() < here.mean() - 3


def test_blocks_are_filled_rectangles_away_from_the_ink(masks):
    for mask in masks:
        rows, columns = np.nonzero(mask == BLOCK)
        if not len(rows):
            continue
        around = mask[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2]
        assert (around[1:-1, 1:-1] == BLOCK).all()
        assert not np.isin(around, (INK, IGNORED)).any()


def test_brightness_alone_does_not_tell_ink_from_block(images, masks):
    ink, block = images[masks == INK], images[masks == BLOCK]
    best = max(((ink < level).mean() + (block >= level).mean()) / 2 for level in range(256))
    assert best < 0.75
