"""Checks of the settings, and settings that follow from others."""

from typing import Literal

from leyden.errors import UserError
from leyden.ranges import NUM_WORKERS, SEEDS, check_range
from leyden.stages.prepare.examples import RejectedFile

Storage = Literal["auto", "pixels", "jpeg"]
SIDES = "[1, 16384]"  # of an image, in pixels
RANGES = {
    "seed": SEEDS,
    "max_image_size": SIDES,
    "crop_margin": "[1, 10]",
    "min_image_side": "[1, inf)",
    "max_pixels": "[1, inf)",
    "max_rejected_fraction": "[0, 1]",
    "near_duplicate_distance": "[0, 15]",
    "shard_mb": "(0, 10000]",
}
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


def check_settings(
    fractions: dict[str, float],
    image_size: tuple[int, int] | None,
    num_workers: int | None,
    **settings: float,
) -> None:
    """Check the ranges of settings, and that `fractions`, of validation and test, leave examples to train on."""
    check_range("prepare", "(0, 1)", **fractions)
    if sum(fractions.values()) >= 1:
        raise UserError(
            f"{' and '.join(f'prepare.{name}' for name in fractions)} must sum to less than 1; "
            f"got {' and '.join(map(str, fractions.values()))}; set them in configs/prepare.yaml"
        )
    for name, value in settings.items():
        check_range("prepare", RANGES[name], **{name: value})
    for side in image_size or ():
        check_range("prepare", SIDES, image_size=side)
    if num_workers is not None:
        check_range("prepare", NUM_WORKERS.replace("[0", "[1"), num_workers=num_workers)


def check_rejected(rejected: list[RejectedFile], total: int, max_fraction: float) -> None:
    """Check that at most `max_fraction` of the files are unusable, and not all."""
    if len(rejected) > max_fraction * total or len(rejected) == total:
        named = "; ".join(f"{file.path}: {file.reason}" for file in rejected[:3])
        raise UserError(
            f"expected at most {max_fraction:.0%} unusable files; got {len(rejected)} of {total} ({named}); "
            "fix or remove them, or raise max_rejected_fraction in configs/prepare.yaml"
        )
