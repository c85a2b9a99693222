"""Augmentation: a draw per example, the same from the same seed, and only the moves that are asked for."""

import pytest
import torch

from leyden.data.augment import Augment

IMAGES = torch.arange(6 * 2 * 8 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).view(6, 2, 8, 16) + 1


def test_off_changes_nothing():
    assert torch.equal(Augment(crop_padding_fraction=0)(IMAGES, 0), IMAGES)


def test_same_seed_same_images_other_seed_others():
    augment = Augment(crop_padding_fraction=0.25, horizontal_flip=True)
    assert torch.equal(augment(IMAGES, 5), augment(IMAGES, 5))
    assert not torch.equal(augment(IMAGES, 5), augment(IMAGES, 6))


def test_each_example_draws_for_itself():
    same = IMAGES[:1].repeat(64, 1, 1, 1)
    assert len({image.numpy().tobytes() for image in Augment(crop_padding_fraction=0.25)(same, 0)}) > 10


def test_crop_is_a_shift_by_at_most_the_padding_filled_with_zeros():
    shifted = Augment(crop_padding_fraction=0.125)(IMAGES, 3)  # 1 row, 2 columns
    for before, after in zip(IMAGES, shifted, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 1, 1))
        crops = [padded[:, y : y + 8, x : x + 16] for y in range(3) for x in range(5)]
        assert any(torch.equal(after, crop) for crop in crops)


def test_flip_mirrors_about_half_of_the_examples():
    flipped = Augment(crop_padding_fraction=0, horizontal_flip=True)(IMAGES[:1].repeat(200, 1, 1, 1), 0)
    mirrored = [torch.equal(image, IMAGES[0].flip(2)) for image in flipped]
    kept = [torch.equal(image, IMAGES[0]) for image in flipped]
    assert sum(mirrored) + sum(kept) == 200 and 60 < sum(mirrored) < 140


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_and_dtype_stay(dtype):
    out = Augment(0.25, True)(IMAGES.to(dtype), 0)
    assert out.shape == IMAGES.shape and out.dtype == dtype
