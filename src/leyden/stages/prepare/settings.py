"""Whether the settings make sense, and whether the data keeps to them."""

from typing import Literal

from leyden.errors import UserError

Storage = Literal["auto", "pixels", "jpeg"]
MAX_PIXEL_BYTES = 100 * 10**9  # that auto stores as pixels


def choose_storage(storage: Storage, num_examples: int, shape: tuple[int, int, int]) -> str:
    """Say what is stored: for auto pixels, which train many times faster than JPEG files can be decoded, unless they are too many for a disk.

    A function of the data alone: the same data is stored alike on every machine.
    """
    height, width, channels = shape
    if storage == "auto":
        return "pixels" if num_examples * height * width * channels <= MAX_PIXEL_BYTES else "jpeg"
    return storage


def with_margin(size: tuple[int, int], crop_margin: float) -> tuple[int, int]:
    """Give the height and width that images are stored in, so that training can cut crops of `size` from them."""
    return max(1, round(size[0] * crop_margin)), max(1, round(size[1] * crop_margin))


def pixels_to_keep(
    storage: Storage, image_size: tuple[int, int] | None, max_image_size: int, crop_margin: float
) -> tuple[tuple[int, int] | None, int]:
    """Give the size in which decoded images wait for packing, where it is known, and else how many pixels of one are kept at most."""
    if storage == "jpeg":
        return None, 0
    return with_margin(image_size, crop_margin) if image_size else None, round(max_image_size * crop_margin) ** 2


def check_settings(
    val_fraction: float, test_fraction: float, crop_margin: float, near_duplicate_distance: int, num_workers: int | None
) -> None:
    """Check what a type does not.

    Raises:
        UserError: if a value is out of its range.
    """
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise UserError(
            "prepare.val_fraction and prepare.test_fraction must be above 0 and sum to less than 1; "
            f"got {val_fraction} and {test_fraction}; set them in configs/prepare.yaml"
        )
    for name, value, good, range_ in (
        ("crop_margin", crop_margin, crop_margin >= 1, "be 1 or more"),
        ("near_duplicate_distance", near_duplicate_distance, 0 <= near_duplicate_distance <= 15, "lie in 0 to 15"),
        ("num_workers", num_workers, num_workers is None or num_workers >= 1, "be 1 or more, or null"),
    ):
        if not good:
            raise UserError(f"prepare.{name} must {range_}; got {value}; set it in configs/prepare.yaml")


def check_rejected(rejected: list[tuple[str, str]], total: int, limit: float) -> None:
    """Stop where too many files are unusable, naming the first few.

    Raises:
        UserError: if the share is above the limit, or no file is left.
    """
    if len(rejected) > limit * total or len(rejected) == total:
        named = "; ".join(f"{path}: {reason}" for path, reason in rejected[:3])
        raise UserError(
            f"expected at most {limit:.0%} unusable files; got {len(rejected)} of {total} ({named}); "
            "mend or remove them, or raise max_rejected_fraction in configs/prepare.yaml"
        )
