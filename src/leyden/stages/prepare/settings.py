"""Checks of the settings, and settings that follow from others."""

from typing import Literal

from leyden.errors import UserError
from leyden.stages.prepare.examples import RejectedFile

Storage = Literal["auto", "pixels", "jpeg"]
MAX_PIXEL_BYTES = 100 * 10**9  # `auto` stores more as JPEG files


def choose_storage(storage: Storage, num_examples: int, shape: tuple[int, int, int]) -> str:
    """Return how images are stored.

    For auto as pixels, which are read many times faster than JPEG files are decoded, unless they are too many for a
    disk. It depends on the data alone, so that the same data is stored in the same way on every machine.
    """
    height, width, channels = shape
    if storage == "auto":
        return "pixels" if num_examples * height * width * channels <= MAX_PIXEL_BYTES else "jpeg"
    return storage


def with_margin(size: tuple[int, int], crop_margin: float) -> tuple[int, int]:
    """Return the height and width of stored images, which training crops to `size`."""
    return max(1, round(size[0] * crop_margin)), max(1, round(size[1] * crop_margin))


def pixels_to_keep(
    storage: Storage, image_size: tuple[int, int] | None, max_image_size: int, crop_margin: float
) -> tuple[tuple[int, int] | None, int]:
    """Choose which decoded images are cached for packing.

    Returns:
        Height and width of cached images, if known; and the largest number of pixels of an image that is cached in its
        own size.
    """
    if storage == "jpeg":
        return None, 0
    return with_margin(image_size, crop_margin) if image_size else None, round(max_image_size * crop_margin) ** 2


def check_settings(
    val_fraction: float, test_fraction: float, crop_margin: float, near_duplicate_distance: int, num_workers: int | None
) -> None:
    """Check the ranges of settings."""
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise UserError(
            "prepare.val_fraction and prepare.test_fraction must be above 0 and sum to less than 1; "
            f"got {val_fraction} and {test_fraction}; set them in configs/prepare.yaml"
        )
    for name, value, is_valid, constraint in (
        ("crop_margin", crop_margin, crop_margin >= 1, "be 1 or more"),
        ("near_duplicate_distance", near_duplicate_distance, 0 <= near_duplicate_distance <= 15, "lie in 0 to 15"),
        ("num_workers", num_workers, num_workers is None or num_workers >= 1, "be 1 or more, or null"),
    ):
        if not is_valid:
            raise UserError(f"prepare.{name} must {constraint}; got {value}; set it in configs/prepare.yaml")


def check_rejected(rejected: list[RejectedFile], total: int, max_fraction: float) -> None:
    """Check that at most `max_fraction` of the files are unusable, and not all."""
    if len(rejected) > max_fraction * total or len(rejected) == total:
        named = "; ".join(f"{file.path}: {file.reason}" for file in rejected[:3])
        raise UserError(
            f"expected at most {max_fraction:.0%} unusable files; got {len(rejected)} of {total} ({named}); "
            "fix or remove them, or raise max_rejected_fraction in configs/prepare.yaml"
        )
