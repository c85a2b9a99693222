"""Masks of images, in which each pixel holds the index of its class: reading, resizing and drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from leyden.errors import UserError
from leyden.imaging.bit_depth import find_layout, read_deep_image, to_array
from leyden.imaging.image_metadata import drop_damaged_metadata
from leyden.imaging.images import (
    ImageReader,
    UnreadableImageError,
    as_unreadable,
    check_size,
    check_strips,
    find_transposition,
    open_image,
    read_content,
)
from leyden.imaging.mask_classes import CLASSES, IGNORED, MAX_CLASSES, Colour, MaskClass, to_colour, to_hex

FORMATS = ("PNG", "BMP", "TIFF")  # others change values when they are saved
SCALES = {"L;2": 85, "L;4": 17}  # by which Pillow multiplies the values of files with 2 or 4 bits


class MaskReader(NamedTuple):
    """How the pixels of mask files become class indices: the position of each one's class in `classes`."""

    classes: tuple[MaskClass, ...]
    ignore_value: int | None = IGNORED  # in files; None if every value is a class
    ignore_colour: Colour | None = None
    limits: ImageReader = ImageReader()

    @classmethod
    def from_classes(
        cls, listed: Sequence[MaskClass], ignore_value: int | None = IGNORED, limits: ImageReader = ImageReader()
    ) -> Self:
        """Make a reader of masks whose classes are listed; a class of the ignored value is not one of them.

        Where only two are listed, one of them `IGNORED`, both are classes: masks are often 0 and 255.

        Raises:
            UserError: if there are fewer than 2 classes, or more than 255.
        """
        classes = tuple(each for each in listed if each.value is None or each.value != ignore_value)
        colours = [each.colour for each in listed if each.value is not None and each.value == ignore_value]
        if len(listed) == 2 and colours and ignore_value == IGNORED:
            classes, ignore_value, colours = tuple(listed), None, []
        if not 2 <= len(classes) <= MAX_CLASSES:
            names = ", ".join(each.name for each in classes[:3])
            raise UserError(
                f"expected 2 to {MAX_CLASSES} classes of masks, besides the ignored one; got {len(classes):,}"
                f"{': ' * bool(names)}{names}{', ...' * (len(classes) > 3)}; correct {CLASSES} or the masks"
            )
        return cls(classes, ignore_value, colours[0] if colours else None, limits)

    @property
    def indices_by_value(self) -> dict[int, int]:
        """The index of the class of each value of a pixel."""
        indices = {each.value: index for index, each in enumerate(self.classes) if each.value is not None}
        return indices if self.ignore_value is None else {self.ignore_value: IGNORED, **indices}

    @property
    def indices_by_colour(self) -> dict[int, int]:
        """The index of the class of each colour of a pixel, 0xRRGGBB."""
        colours = {each.colour: index for index, each in enumerate(self.classes)} | {self.ignore_colour: IGNORED}
        return {int(to_hex(colour)[1:], 16): index for colour, index in colours.items() if colour}


class RawMask(NamedTuple):
    """The pixels of a mask file, upright."""

    values: np.ndarray | None  # (H, W), grey or indices of a palette, up to 16 bits; None for colours
    codes: np.ndarray | None  # colours 0xRRGGBB, int32 (H, W); None for grey with more than 8 bits
    mode: str  # L, P or RGB

    @property
    def pixels(self) -> np.ndarray:
        pixels = self.codes if self.values is None else self.values
        assert pixels is not None
        return pixels


def read_mask(file: Path | bytes, reader: MaskReader, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask, upright by its EXIF orientation as its image is.

    Grey pixels hold the values of classes. RGB pixels, and those with a palette, hold their colours, if all of them
    are known; else the values are the indices of the palette, or of pixels whose three channels are equal.

    Args:
        file: The file, or its content: PNG, BMP or TIFF.
        reader: The classes.
        image_size: Height and width of its image, upright, as it is in its file; None checks nothing.

    Returns:
        Class indices uint8 (H, W), `IGNORED` where a pixel has the ignored value or colour.

    Raises:
        UnreadableImageError: if it cannot be read, a pixel is of no class, or its size is not that of its image.
    """
    raw = decode_mask(file, reader.limits)
    height, width = raw.pixels.shape
    if image_size and (height, width) != tuple(image_size):
        raise UnreadableImageError(f"has {width}x{height} pixels; its image has {image_size[1]}x{image_size[0]}")
    by_value = (raw.values, reader.indices_by_value, "the value {}".format)
    by_colour = (raw.codes, reader.indices_by_colour, lambda code: f"the colour {to_hex(to_colour(code))}")
    reasons = []
    for pixels, indices, describe in (by_value, by_colour) if raw.mode == "L" else (by_colour, by_value):
        if pixels is not None and indices:
            found = look_up(pixels, indices)
            if isinstance(found, np.ndarray):
                return found
            reasons.append(f"holds {describe(found)}, which is no class")
    if not reasons:
        raise UnreadableImageError(f"holds colours, and no class has one; add the column color to {CLASSES}")
    raise UnreadableImageError(reasons[-1 if raw.mode == "P" else 0])


def look_up(pixels: np.ndarray, indices: Mapping[int, int]) -> np.ndarray | int:
    """Return the index of each pixel's value, uint8; or the smallest value that has none."""
    keys = np.array(sorted(indices))
    positions = np.searchsorted(keys, pixels).clip(max=len(keys) - 1)
    is_unknown = keys[positions] != pixels
    if is_unknown.any():
        return int(pixels[is_unknown].min())
    return np.array([indices[key] for key in keys.tolist()], np.uint8)[positions]


def scan_mask(file: Path | bytes, limits: ImageReader = ImageReader()) -> frozenset[tuple[int | None, int | None]]:
    """Find the values and colours that a mask holds, of which `find_classes` makes classes.

    Returns:
        Each value with its colour 0xRRGGBB, which is None for grey; colours without a palette have the value None.

    Raises:
        UnreadableImageError: if it cannot be read, or holds more values than there can be classes.
    """
    raw = decode_mask(file, limits)
    values, first = np.unique(raw.pixels, return_index=True)
    if len(values) > MAX_CLASSES + 1:
        kind = "colours" if raw.values is None else "values"
        raise UnreadableImageError(f"holds {len(values):,} {kind}: no mask, or one that was smoothed")
    if raw.values is None:
        return frozenset((None, code) for code in values.tolist())
    codes = [None] * len(values) if raw.mode != "P" or raw.codes is None else raw.codes.ravel()[first].tolist()
    return frozenset(zip(values.tolist(), codes, strict=True))


def decode_mask(file: Path | bytes, limits: ImageReader) -> RawMask:
    """Decode the exact values of a mask.

    Raises:
        UnreadableImageError: if the file is unreadable, or of a format or mode that does not keep values.
    """
    content = file if isinstance(file, bytes) else read_content(file)
    try:
        content = drop_damaged_metadata(content)
        with open_image(content) as opened:
            if opened.format not in FORMATS:
                raise UnreadableImageError(f"{opened.format} file; masks are {', '.join(FORMATS)}, which keep values")
            check_size(opened, limits)
            check_strips(opened)
            deep = read_deep_image(content, opened)
            layout = find_layout(opened)
            if (deep and deep.is_inverted) or (opened.mode in ("1", "L") and "I" in layout.partition(";")[2]):
                raise UnreadableImageError("TIFF file in which 0 is white; save it with 0 as black")
            pixels = deep.values if deep else to_array(opened)
            raw = to_raw(opened, pixels.squeeze(2) if deep and pixels.shape[2] == 1 else pixels, layout)
            transposition = find_transposition(opened)
    except Exception as error:
        raise as_unreadable(error) from error
    return (
        raw
        if transposition is None
        else raw._replace(values=transpose(raw.values, transposition), codes=transpose(raw.codes, transposition))
    )


def to_raw(opened: Image.Image, pixels: np.ndarray, layout: str) -> RawMask:
    mode = opened.mode
    if mode in ("LA", "RGBA") and pixels.dtype == np.uint8:
        if pixels[..., -1].min() < 255:
            raise UnreadableImageError("has transparent pixels; save it without an alpha channel")
        pixels, mode = pixels[..., 0] if mode == "LA" else pixels[..., :3], mode[:-1]
    if mode in ("1", "L") or mode.startswith("I"):
        values = pixels.astype(np.uint8) if mode == "1" else pixels // SCALES.get(layout, 1)
        return RawMask(values, None if values.max() > 255 else values.astype(np.int32) * 0x010101, "L")
    if mode == "P":
        palette = np.zeros((256, 3), np.int32)
        colours = np.reshape(opened.getpalette("RGB") or [], (-1, 3))
        palette[: len(colours)] = colours
        return RawMask(pixels, join_channels(palette)[pixels], "P")
    if mode == "RGB" and pixels.dtype == np.uint8:
        is_grey = (pixels == pixels[..., :1]).all()
        return RawMask(pixels[..., 0] if is_grey else None, join_channels(pixels.astype(np.int32)), "RGB")
    raise UnreadableImageError(f"unsupported mode {mode}{' of 16 bits' * (pixels.dtype == np.uint16)} for a mask")


def join_channels(colours: np.ndarray) -> np.ndarray:
    """Convert colours int32 (..., 3) to 0xRRGGBB."""
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]


def transpose(pixels: np.ndarray | None, transposition: Image.Transpose) -> np.ndarray | None:
    return None if pixels is None else np.asarray(Image.fromarray(pixels).transpose(transposition))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask (H, W) to height and width as its image is resized, to the nearest pixel's class."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def draw_overlay(image: np.ndarray, mask: np.ndarray, palette: Sequence[Colour], alpha: float = 0.5) -> np.ndarray:
    """Draw a mask (H, W) over its image uint8 (H, W, C), each class in its colour; ignored pixels show the image.

    Returns:
        uint8 (H, W, 3).
    """
    pixels = np.broadcast_to(image, (*image.shape[:2], 3))
    drawn = np.round((1 - alpha) * pixels + alpha * full_palette(palette)[mask]).astype(np.uint8)
    return np.where((mask == IGNORED)[..., None], pixels, drawn)


def write_mask_png(path: Path, mask: np.ndarray, palette: Sequence[Colour]) -> None:
    """Write class indices uint8 (H, W) as a PNG file that holds these, and shows the classes in their colours."""
    image = Image.fromarray(mask).convert("P")
    image.putpalette(full_palette(palette).tobytes())
    image.save(path)


def full_palette(palette: Sequence[Colour]) -> np.ndarray:
    """Return the colours of all 256 values, uint8 (256, 3): of no class, white."""
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(palette)] = palette
    return colours
