"""Augmentation: parameters per example, a function of the seed, and only the operations that are turned on."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from leyden.data.augment import Augment, AugmentParams, pixel_boxes
from leyden.data.fused import FusedImages
from leyden.errors import UserError

IMAGES = torch.arange(6 * 3 * 8 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).view(6, 3, 8, 16) + 1
MEAN = torch.tensor([0.2, 0.4, 0.6])
EVERYTHING = Augment(0.25, True, 0.5, (0.3, 1.0), 0.4, [{"class_path": "torchvision.transforms.v2.RandAugment"}])


def run(augment: Augment, images: torch.Tensor = IMAGES, seed: int = 0) -> torch.Tensor:
    return augment(images, augment.make_params(len(images), *images.shape[2:], seed), MEAN[: images.shape[1]])


def test_no_augmentation_changes_nothing():
    assert torch.equal(run(Augment(crop_padding_fraction=0)), IMAGES)


def test_images_depend_on_the_seed():
    assert torch.equal(run(EVERYTHING, seed=5), run(EVERYTHING, seed=5))
    assert not torch.equal(run(EVERYTHING, seed=5), run(EVERYTHING, seed=6))


def test_the_global_random_state_is_not_changed():
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
def test_each_example_has_its_own_parameters_and_keeps_shape_and_dtype(augment):
    out = run(augment, IMAGES[:1].repeat(64, 1, 1, 1))
    assert out.shape == (64, 3, 8, 16)
    assert out.dtype == torch.uint8
    assert len({image.contiguous().numpy().tobytes() for image in out}) >= (2 if augment.horizontal_flip else 10)


def test_two_processes_augment_like_one():
    params = EVERYTHING.make_params(6, 8, 16, seed=3)
    expected = EVERYTHING(IMAGES, params, MEAN)
    for rank in range(2):
        examples = slice(rank, None, 2)
        assert torch.equal(EVERYTHING(IMAGES[examples], params.select(examples), MEAN), expected[examples])


def test_crop_is_a_shift_by_at_most_the_padding_filled_with_zeros():
    shifted = run(Augment(crop_padding_fraction=0.125), seed=3)  # by 1 row, 2 columns
    for before, after in zip(IMAGES, shifted, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 1, 1))
        crops = [padded[:, y : y + 8, x : x + 16] for y in range(3) for x in range(5)]
        assert any(torch.equal(after, crop) for crop in crops)


def test_flip_mirrors_about_half_of_the_examples():
    flipped = run(Augment(crop_padding_fraction=0, horizontal_flip=True), IMAGES[:1].repeat(200, 1, 1, 1))
    mirrored = [torch.equal(image, IMAGES[0].flip(2)) for image in flipped]
    unchanged = [torch.equal(image, IMAGES[0]) for image in flipped]
    assert sum(mirrored) + sum(unchanged) == 200
    assert 60 < sum(mirrored) < 140


def test_cutout_fills_a_box_with_the_mean_colour():
    bright = torch.full((100, 3, 8, 16), 255, dtype=torch.uint8)
    out = run(Augment(crop_padding_fraction=0, cutout_fraction=0.5), bright)
    boxes = (out != 255).all(dim=1)
    assert boxes.flatten(1).sum(1).max() == 4 * 8
    assert boxes.flatten(1).sum(1).min() >= 4
    assert out.permute(0, 2, 3, 1)[boxes].unique(dim=0).tolist() == [[51, 102, 153]]


def test_resized_crop_of_the_full_area_is_nearly_the_image():
    smooth = torch.linspace(0, 255, 16).round().to(torch.uint8).expand(4, 3, 8, 16).contiguous()
    full = run(Augment(0, resized_crop=(1.0, 1.0)), smooth)
    assert (full.int() - smooth.int()).abs().max() <= 40  # the aspect ratio still varies
    small = run(Augment(0, resized_crop=(0.1, 0.1)), smooth)
    assert ((small.amax(dim=(1, 2, 3)).int() - small.amin(dim=(1, 2, 3)).int()) < 140).all()


def test_colour_jitter_matches_torchvision():
    from torchvision.transforms.v2 import functional

    from leyden.data.colour import jitter

    factors = torch.tensor([[1.3, 0.7, 0.5]])
    image = torch.randint(0, 256, (1, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = functional.adjust_brightness(image.float() / 255, 1.3)
    expected = functional.adjust_saturation(functional.adjust_contrast(expected, 0.7), 0.5) * 255
    assert (jitter(image, factors).float() - expected).abs().max() <= 1.0
    assert torch.equal(jitter(image, torch.ones(1, 3)), image)
    assert jitter(image[:, :1], factors).shape == (1, 1, 9, 7)


def test_unknown_transform_is_reported():
    with pytest.raises(UserError, match=r"expected a transform.*got 'torchvision\.Nothing'"):
        run(Augment(transforms=[{"class_path": "torchvision.Nothing"}]))


def test_is_fusable_without_colour_jitter_and_transforms():
    assert Augment(0.25, True, 0.5).is_fusable
    assert not EVERYTHING.is_fusable
    assert not Augment(colour_jitter=0.1).is_fusable


def test_crops_cover_the_stored_image_including_its_margin():
    augment = Augment(crop_padding_fraction=0)
    margin = (2, 4)
    params = augment.make_params(400, 6, 12, seed=0, margin=margin)
    out = augment(IMAGES[:1].repeat(400, 1, 1, 1), params, MEAN, margin)
    crops = [IMAGES[0, :, y : y + 6, x : x + 12] for y in range(3) for x in range(5)]
    counts = [sum(torch.equal(image, crop) for image in out) for crop in crops]
    assert sum(counts) == 400
    assert min(counts) > 8


@pytest.mark.parametrize(
    ("margin", "padding"), [((0, 0), (2, 4)), ((2, 4), (1, 2)), ((3, 5), (1, 2)), ((4, 99), (0, 0))]
)
def test_a_margin_replaces_padding(margin, padding):
    assert Augment(0.25).padding(8, 16, margin) == padding
    assert Augment(0.25, resized_crop=(0.5, 1)).padding(8, 16, margin) == (0, 0)


def test_resized_crops_match_cropping_and_interpolation():
    augment = Augment(resized_crop=(0.2, 1.0))
    params = augment.make_params(6, 5, 10, seed=1, margin=(3, 6))
    out = augment(IMAGES, params, MEAN, (3, 6))
    assert out.shape == (6, 3, 5, 10)
    boxes = pixel_boxes(params.relative_box, 8, 16).tolist()
    for image, actual, (top, left, height, width) in zip(IMAGES, out, boxes, strict=True):
        assert top >= 0
        assert left >= 0
        assert 1 <= height <= 8 - top
        assert 1 <= width <= 16 - left
        box = image[None, :, top : top + height, left : left + width].float()
        expected = torch.nn.functional.interpolate(box, (5, 10), mode="bilinear", antialias=True)[0]
        assert (actual.float() - expected).abs().max() <= 0.501


def test_boxes_of_resized_crops_have_the_requested_areas_and_reach_every_corner():
    params = Augment(resized_crop=(0.25, 0.5)).make_params(2000, 100, 100, seed=0)
    boxes = pixel_boxes(params.relative_box, 100, 100)
    areas = boxes[:, 2] * boxes[:, 3] / 10_000
    assert areas.min() > 0.23
    assert areas.max() < 0.52
    assert areas.min() < 0.27
    assert areas.max() > 0.48
    ends = boxes[:, :2] + boxes[:, 2:]
    assert (boxes[:, :2].amin(0) == 0).all()
    assert (ends.amax(0) == 100).all()


MARGIN = (2, 4)
MASKS = torch.randint(0, 20, (64, 8, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
GEOMETRIES = [  # augmentation, margin
    (Augment(0), (0, 0)),
    (Augment(0), MARGIN),
    (Augment(0.25), (0, 0)),
    (Augment(0.25, horizontal_flip=True), MARGIN),
    (Augment(0, horizontal_flip=True), (0, 0)),
    (Augment(0.25, True, cutout_fraction=0.5), MARGIN),
]
HALF = Fraction(1, 2)
ZERO_IS_BLACK, IDENTITY = torch.zeros(3), torch.ones(3)


def rotation(**init_args: object) -> dict[str, object]:
    return {"class_path": "torchvision.transforms.v2.RandomRotation", "init_args": {"degrees": 40, **init_args}}


def as_images(masks: torch.Tensor) -> torch.Tensor:
    """Return images whose pixels show a mask's values, and are never black."""
    return (masks + 1)[:, None].repeat(1, 3, 1, 1)


def draw(augment: Augment, margin: tuple[int, int], seed: int = 0) -> AugmentParams:
    return augment.make_params(64, 8 - margin[0], 16 - margin[1], seed, margin)


def fuse(augment: Augment, images: torch.Tensor, params: AugmentParams, margin: tuple[int, int]) -> torch.Tensor:
    """Return images of the fused path, with pixels from 0 to 255."""
    size = images.shape[2] - margin[0], images.shape[3] - margin[1]
    stored = images.permute(0, 2, 3, 1).contiguous()
    fused = FusedImages(stored, torch.arange(len(images)), params, augment, size, margin)
    return fused.normalize(IDENTITY, ZERO_IS_BLACK, torch.float32)


def expected_masks(images: torch.Tensor) -> torch.Tensor:
    """Return the masks that images of `as_images` show; black is padding."""
    return torch.where(images[:, 0] == 0, 255, images[:, 0] - 1).to(torch.uint8)


@pytest.mark.parametrize(("augment", "margin"), GEOMETRIES)
@pytest.mark.parametrize("is_fused", [False, True])
def test_masks_are_shifted_and_flipped_with_their_images(augment, margin, is_fused):
    params, images = draw(augment, margin), as_images(MASKS)
    masks = augment.apply_to_masks(MASKS, params, margin)
    without_cutout = replace(augment, cutout_fraction=0)
    if is_fused:
        params = params._replace(cutout_box=torch.zeros_like(params.cutout_box))
        moved = fuse(augment, images, params, margin)
    else:
        moved = without_cutout(images, params, MEAN, margin)
    assert masks.shape == (64, 8 - margin[0], 16 - margin[1])
    assert masks.dtype == torch.uint8
    assert torch.equal(masks, expected_masks(moved))


def test_padding_of_masks_is_ignored():
    augment = Augment(0.25)
    masks = augment.apply_to_masks(torch.zeros_like(MASKS), draw(augment, (0, 0)))
    assert masks.unique().tolist() == [0, 255]


def test_cutout_leaves_masks_as_they_are():
    augment = Augment(0, cutout_fraction=0.5)
    params = draw(augment, (0, 0))
    images, masks = augment.apply_to_pairs(as_images(MASKS), MASKS, params, MEAN)
    assert not torch.equal(images, as_images(MASKS))
    assert torch.equal(masks, MASKS)


@pytest.mark.parametrize("margin", [(0, 0), MARGIN])
@pytest.mark.parametrize("is_fused", [False, True])
def test_resized_crops_of_masks_follow_their_images(margin, is_fused):
    """Each row or column holds one value: a crop shows where it came from, up to half a pixel of interpolation."""
    augment = Augment(0, True, resized_crop=(0.2, 1.0))
    params = draw(augment, margin)
    for ramp in (torch.arange(16).expand(8, 16), torch.arange(8)[:, None].expand(8, 16)):
        masks = (10 * ramp).to(torch.uint8).expand(64, 8, 16).contiguous()
        images = masks[:, None].repeat(1, 3, 1, 1)
        resized = fuse(augment, images, params, margin) if is_fused else augment(images, params, MEAN, margin)
        moved = augment.apply_to_masks(masks, params, margin)
        assert moved.shape == resized[:, 0].shape
        assert (moved.float() - resized[:, 0].float()).abs().max() <= 5.51


def test_resized_crops_of_masks_take_the_nearest_pixel_of_the_box():
    augment = Augment(0, resized_crop=(0.2, 1.0))
    params = draw(augment, MARGIN)
    boxes = pixel_boxes(params.relative_box, 8, 16).tolist()
    resized = augment.apply_to_masks(MASKS, params, MARGIN)

    def nearest(start: int, length: int, size: int) -> list[int]:
        centres = [Fraction(2 * index + 1, 2) * length / size for index in range(size)]
        return [start + max(range(length), key=lambda pixel: (-abs(pixel + HALF - at), pixel)) for at in centres]

    for mask, actual, (top, left, height, width) in zip(MASKS, resized, boxes, strict=True):
        assert torch.equal(actual, mask[nearest(top, height, 6)][:, nearest(left, width, 12)])


@pytest.mark.parametrize(
    "specs",
    [
        [rotation()],
        [{"class_path": "torchvision.transforms.v2.RandomHorizontalFlip"}, rotation()],
        [
            {
                "class_path": "torchvision.transforms.v2.RandomAffine",
                "init_args": {"degrees": 20, "translate": [0.2, 0.2]},
            }
        ],
    ],
)
def test_transforms_move_masks_with_their_images(specs):
    augment = Augment(0.25, True, transforms=specs)
    params, images = draw(augment, MARGIN), as_images(MASKS)
    moved, masks = augment.apply_to_pairs(images, MASKS, params, MEAN, MARGIN)
    assert torch.equal(moved, augment(images, params, MEAN, MARGIN))  # the same images as without masks
    assert torch.equal(masks, expected_masks(moved))
    assert not torch.equal(masks, replace(augment, transforms=[]).apply_to_masks(MASKS, params, MARGIN))
    assert type(moved) is type(masks) is torch.Tensor


def test_a_fill_of_images_does_not_become_a_class():
    augment = Augment(0, transforms=[rotation(fill=3)])
    images, masks = augment.apply_to_pairs(as_images(MASKS), torch.zeros_like(MASKS), draw(augment, (0, 0)), MEAN)
    assert masks.unique().tolist() == [0, 255]
    assert (images.permute(0, 2, 3, 1)[masks == 255] == 3).all()


def test_colours_of_transforms_and_jitter_leave_masks_as_they_are():
    invert = {"class_path": "torchvision.transforms.v2.RandomInvert"}
    augment = Augment(0, colour_jitter=0.5, transforms=[invert])
    images, masks = augment.apply_to_pairs(as_images(MASKS), MASKS, draw(augment, (0, 0)), MEAN)
    assert not torch.equal(images, as_images(MASKS))
    assert torch.equal(masks, MASKS)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"class_path": "torchvision.transforms.v2.RandAugment"}, "RandAugment fails with TypeError: .*Mask"),
        (rotation() | {"class_path": "torchvision.transforms.RandomRotation"}, "RandomRotation fails with TypeError"),
    ],
)
def test_transforms_that_do_not_take_masks_are_reported(spec, reason):
    augment = Augment(0, transforms=[spec])
    with pytest.raises(UserError, match=f"expected transforms of an image and its mask.*{reason}"):
        augment.apply_to_pairs(as_images(MASKS), MASKS, draw(augment, (0, 0)), MEAN)


def test_two_processes_augment_masks_like_one():
    augment = Augment(0.25, True, transforms=[rotation()])
    params, images = draw(augment, (0, 0)), as_images(MASKS)
    _, expected = augment.apply_to_pairs(images, MASKS, params, MEAN)
    part = slice(1, None, 2)
    _, masks = augment.apply_to_pairs(images[part], MASKS[part], params.select(part), MEAN)
    assert torch.equal(masks, expected[part])
