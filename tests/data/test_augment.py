"""Augmentation: a draw per example, the same from the same seed, and only the moves that are asked for."""

import pytest
import torch

from leyden.data.augment import Augment, zoom_boxes
from leyden.errors import UserError

IMAGES = torch.arange(6 * 3 * 8 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).view(6, 3, 8, 16) + 1
MEAN = torch.tensor([0.2, 0.4, 0.6])
EVERYTHING = Augment(0.25, True, 0.5, (0.3, 1.0), 0.4, [{"class_path": "torchvision.transforms.v2.RandAugment"}])


def run(augment: Augment, images: torch.Tensor = IMAGES, seed: int = 0) -> torch.Tensor:
    return augment(images, augment.draw(len(images), *images.shape[2:], seed), MEAN[: images.shape[1]])


def test_off_changes_nothing():
    assert torch.equal(run(Augment(crop_padding_fraction=0)), IMAGES)


def test_same_seed_same_images_other_seed_others():
    assert torch.equal(run(EVERYTHING, seed=5), run(EVERYTHING, seed=5))
    assert not torch.equal(run(EVERYTHING, seed=5), run(EVERYTHING, seed=6))


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(EVERYTHING)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(0.25),
        Augment(0, horizontal_flip=True),
        Augment(0, cutout_fraction=0.5),
        Augment(0, resized_crop=(0.2, 1.0)),
        Augment(0, colour_jitter=0.5),
        Augment(
            0, transforms=[{"class_path": "torchvision.transforms.v2.RandomRotation", "init_args": {"degrees": 90}}]
        ),
    ],
)
def test_each_example_draws_for_itself_and_keeps_shape_and_dtype(augment):
    out = run(augment, IMAGES[:1].repeat(64, 1, 1, 1))
    assert out.shape == (64, 3, 8, 16) and out.dtype == torch.uint8
    assert len({image.contiguous().numpy().tobytes() for image in out}) >= (2 if augment.horizontal_flip else 10)


def test_two_processes_see_what_one_does():
    draws = EVERYTHING.draw(6, 8, 16, seed=3)
    whole = EVERYTHING(IMAGES, draws, MEAN)
    for rank in range(2):
        assert torch.equal(EVERYTHING(IMAGES[rank::2], draws.part(rank, 2), MEAN), whole[rank::2])


def test_crop_is_a_shift_by_at_most_the_padding_filled_with_zeros():
    for before, after in zip(
        IMAGES, run(Augment(crop_padding_fraction=0.125), seed=3), strict=True
    ):  # 1 row, 2 columns
        padded = torch.nn.functional.pad(before, (2, 2, 1, 1))
        crops = [padded[:, y : y + 8, x : x + 16] for y in range(3) for x in range(5)]
        assert any(torch.equal(after, crop) for crop in crops)


def test_flip_mirrors_about_half_of_the_examples():
    flipped = run(Augment(crop_padding_fraction=0, horizontal_flip=True), IMAGES[:1].repeat(200, 1, 1, 1))
    mirrored = [torch.equal(image, IMAGES[0].flip(2)) for image in flipped]
    kept = [torch.equal(image, IMAGES[0]) for image in flipped]
    assert sum(mirrored) + sum(kept) == 200 and 60 < sum(mirrored) < 140


def test_cutout_fills_a_box_with_the_mean_colour():
    bright = torch.full((100, 3, 8, 16), 255, dtype=torch.uint8)
    out = run(Augment(crop_padding_fraction=0, cutout_fraction=0.5), bright)
    holes = (out != 255).all(dim=1)
    assert holes.flatten(1).sum(1).max() == 4 * 8 and holes.flatten(1).sum(1).min() >= 4
    assert out.permute(0, 2, 3, 1)[holes].unique(dim=0).tolist() == [[51, 102, 153]]


def test_resized_crop_of_the_whole_area_is_nearly_the_image():
    smooth = torch.linspace(0, 255, 16).round().to(torch.uint8).expand(4, 3, 8, 16).contiguous()
    whole = run(Augment(0, resized_crop=(1.0, 1.0)), smooth)
    assert (whole.int() - smooth.int()).abs().max() <= 40  # the aspect ratio still varies
    small = run(Augment(0, resized_crop=(0.1, 0.1)), smooth)
    assert ((small.amax(dim=(1, 2, 3)).int() - small.amin(dim=(1, 2, 3)).int()) < 140).all()


def test_colour_jitter_is_torchvisions():
    from torchvision.transforms.v2 import functional

    from leyden.data.colour import jitter

    factors = torch.tensor([[1.3, 0.7, 0.5]])
    image = torch.randint(0, 256, (1, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = functional.adjust_brightness(image.float() / 255, 1.3)
    expected = functional.adjust_saturation(functional.adjust_contrast(expected, 0.7), 0.5) * 255
    assert (jitter(image, factors).float() - expected).abs().max() <= 1.0
    assert torch.equal(jitter(image, torch.ones(1, 3)), image)
    assert jitter(image[:, :1], factors).shape == (1, 1, 9, 7)


def test_unknown_transform_is_named():
    with pytest.raises(UserError, match=r"expected the class path of a transform.*got 'torchvision\.Nothing'"):
        run(Augment(transforms=[{"class_path": "torchvision.Nothing"}]))


def test_what_the_fused_operator_can_do():
    assert Augment(0.25, True, 0.5).fusable and not EVERYTHING.fusable and not Augment(colour_jitter=0.1).fusable


def test_a_margin_gives_crops_from_all_over_the_stored_image():
    augment = Augment(crop_padding_fraction=0)
    margin = (2, 4)
    draws = augment.draw(400, 6, 12, seed=0, margin=margin)
    out = augment(IMAGES[:1].repeat(400, 1, 1, 1), draws, MEAN, margin)
    crops = [IMAGES[0, :, y : y + 6, x : x + 12] for y in range(3) for x in range(5)]
    seen = [sum(torch.equal(image, crop) for image in out) for crop in crops]
    assert sum(seen) == 400 and min(seen) > 8


@pytest.mark.parametrize(
    ("margin", "padding"), [((0, 0), (2, 4)), ((2, 4), (1, 2)), ((3, 5), (1, 2)), ((4, 99), (0, 0))]
)
def test_a_margin_takes_the_place_of_padding(margin, padding):
    assert Augment(0.25).padding(8, 16, margin) == padding
    assert Augment(0.25, resized_crop=(0.5, 1)).padding(8, 16, margin) == (0, 0)


def test_resized_crops_lie_inside_and_are_what_is_cut_and_interpolated():
    augment = Augment(resized_crop=(0.2, 1.0))
    draws = augment.draw(6, 5, 10, seed=1, margin=(3, 6))
    out = augment(IMAGES, draws, MEAN, (3, 6))
    assert out.shape == (6, 3, 5, 10)
    for image, same, (top, left, height, width) in zip(
        IMAGES, out, zoom_boxes(draws.zoom, 8, 16).tolist(), strict=True
    ):
        assert top >= 0 and left >= 0 and 1 <= height <= 8 - top and 1 <= width <= 16 - left
        box = image[None, :, top : top + height, left : left + width].float()
        expected = torch.nn.functional.interpolate(box, (5, 10), mode="bilinear", antialias=True)[0]
        assert (same.float() - expected).abs().max() <= 0.501


def test_boxes_of_resized_crops_have_the_drawn_areas_and_reach_every_corner():
    boxes = zoom_boxes(Augment(resized_crop=(0.25, 0.5)).draw(2000, 100, 100, seed=0).zoom, 100, 100)
    areas = boxes[:, 2] * boxes[:, 3] / 10_000
    assert areas.min() > 0.23 and areas.max() < 0.52 and areas.min() < 0.27 and areas.max() > 0.48
    ends = boxes[:, :2] + boxes[:, 2:]
    assert (boxes[:, :2].amin(0) == 0).all() and (ends.amax(0) == 100).all()
