"""Masks of images, in which each pixel holds the index of its class: reading, resizing and drawing."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

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
COMPRESSION_LEVEL = 1  # a hundredth of the size; higher levels take longer than decoding the file
Channel = TypeVar("Channel", int, np.ndarray)


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
    """A mask file, decoded and upright: the kinds of its pixels, and which kind each pixel is."""

    mode: str  # L, P or RGB
    values: list[int] | None  # of each kind: grey, or an index of the palette, up to 16 bits; None for colours
    codes: list[int] | None  # of each kind: its colour 0xRRGGBB; None for grey with more than 8 bits
    size: tuple[int, int]  # height and width
    packed_kinds: bytes  # the kind of each pixel, uint8 (H, W), compressed: masks are kept in memory or in a file

    @property
    def kinds(self) -> np.ndarray:
        """The kind of each pixel, uint8 (H, W)."""
        return np.frombuffer(zlib.decompress(self.packed_kinds), np.uint8).reshape(self.size)

    @property
    def contents(self) -> frozenset[tuple[int | None, int | None]]:
        """Each value with its colour, which is None for grey; colours without a palette have the value None."""
        if self.values is None:
            return frozenset((None, code) for code in self.codes or ())
        codes = self.codes if self.mode == "P" and self.codes else [None] * len(self.values)
        return frozenset(zip(self.values, codes, strict=True))


def read_mask(file: Path | bytes, reader: MaskReader, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask, as `decode_mask` and `classify` do."""
    return classify(decode_mask(file, reader.limits), reader, image_size)


def classify(raw: RawMask, reader: MaskReader, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Find the class of each pixel.

    Grey pixels hold the values of classes. RGB pixels, and those with a palette, hold their colours, if all of them
    are known; else the values are the indices of the palette, or of pixels whose three channels are equal.

    Args:
        raw: The mask.
        reader: The classes.
        image_size: Height and width of its image, upright, as it is in its file; None checks nothing.

    Returns:
        Class indices uint8 (H, W), `IGNORED` where a pixel has the ignored value or colour.

    Raises:
        UnreadableImageError: if a pixel is of no class, or its size is not that of its image.
    """
    if image_size and raw.size != tuple(image_size):
        shown, expected = (f"{width}x{height}" for height, width in (raw.size, image_size))
        raise UnreadableImageError(f"has {shown} pixels; its image has {expected}")
    by_value = (raw.values, reader.indices_by_value, "the value {}".format)
    by_colour = (raw.codes, reader.indices_by_colour, lambda code: f"the colour {to_hex(to_colour(code))}")
    reasons = []
    for kinds, indices, describe in (by_value, by_colour) if raw.mode == "L" else (by_colour, by_value):
        if kinds is not None and indices:
            unknown = [kind for kind in kinds if kind not in indices]
            if not unknown:
                return np.array([indices[kind] for kind in kinds], np.uint8)[raw.kinds]
            reasons.append(f"holds {describe(min(unknown))}, which is no class")
    if not reasons:
        raise UnreadableImageError(f"holds colours, and no class has one; add the column color to {CLASSES}")
    raise UnreadableImageError(reasons[-1 if raw.mode == "P" else 0])


def decode_mask(file: Path | bytes, limits: ImageReader = ImageReader()) -> RawMask:
    """Decode a mask, upright by its EXIF orientation as its image is: PNG, BMP or TIFF.

    Raises:
        UnreadableImageError: if the file is unreadable, of a format or mode that does not keep values, or holds more
            values than there can be classes.
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
            pixels = pixels.squeeze(2) if deep and pixels.shape[2] == 1 else pixels
            return to_raw(opened, pixels, layout, find_transposition(opened))
    except Exception as error:
        raise as_unreadable(error) from error


def to_raw(opened: Image.Image, pixels: np.ndarray, layout: str, transposition: Image.Transpose | None) -> RawMask:
    mode = opened.mode
    values: list[int] | None
    codes: list[int] | None
    if mode in ("LA", "RGBA") and pixels.dtype == np.uint8:
        if pixels[..., -1].min() < 255:
            raise UnreadableImageError("has transparent pixels; save it without an alpha channel")
        pixels, mode = pixels[..., 0] if mode == "LA" else pixels[..., :3], mode[:-1]
    if mode in ("1", "L") or mode.startswith("I"):
        kinds, values = find_kinds(pixels.astype(np.uint8) if mode == "1" else pixels // SCALES.get(layout, 1))
        mode, codes = "L", None if max(values) > 255 else [0x010101 * value for value in values]
    elif mode == "P":
        kinds, values = find_kinds(pixels)
        palette = dict(enumerate(np.reshape(opened.getpalette("RGB") or [], (-1, 3)).tolist()))
        codes = [join_channels(*palette.get(value, (0, 0, 0))) for value in values]
    elif mode == "RGB" and pixels.dtype == np.uint8:
        kinds, codes = find_kinds(join_channels(*np.moveaxis(pixels.astype(np.int32), 2, 0)))
        is_grey = all(code == 0x010101 * (code & 255) for code in codes)
        values = [code & 255 for code in codes] if is_grey else None
    else:
        raise UnreadableImageError(f"unsupported mode {mode}{' of 16 bits' * (pixels.dtype == np.uint16)} for a mask")
    if transposition is not None:
        kinds = np.asarray(Image.fromarray(kinds).transpose(transposition))
    return RawMask(mode, values, codes, kinds.shape, zlib.compress(kinds.tobytes(), COMPRESSION_LEVEL))


def find_kinds(pixels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return the kind of each pixel, uint8 (H, W), and the values of the kinds, in ascending order.

    Raises:
        UnreadableImageError: if there are more kinds than there can be classes.
    """
    if pixels.dtype == np.uint8:  # `np.unique` sorts them, which takes longer
        values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
        kinds = np.searchsorted(values, np.arange(256))[pixels]
    else:
        values, kinds = np.unique(pixels, return_inverse=True)
    if len(values) > MAX_CLASSES + 1:
        kind = "colours" if pixels.dtype == np.int32 else "values"
        raise UnreadableImageError(f"holds {len(values):,} {kind}: no mask, or one that was smoothed")
    return kinds.astype(np.uint8).reshape(pixels.shape), values.tolist()


def join_channels(red: Channel, green: Channel, blue: Channel) -> Channel:
    """Convert channels to 0xRRGGBB."""
    return red << 16 | green << 8 | blue


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
