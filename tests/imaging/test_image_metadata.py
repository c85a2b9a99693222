"""Damaged metadata neither rejects a picture nor changes its pixels."""

import struct
import zlib

import numpy as np
import pytest

from leyden.imaging.image_metadata import drop_damaged_metadata
from leyden.imaging.images import UnreadableImageError, decode
from tests.imaging.image_files import chunk, move_outside, png, tiff

GREY = np.random.default_rng(0).integers(0, 256, (6, 8, 1))
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 8, 3))
UPRIGHT_BY_ROTATION = b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)
XMP = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(decode(content).image)


@pytest.mark.parametrize(
    "damaged",
    [
        (b"gAMA", b"x"),
        (b"pHYs", b""),
        (b"sRGB", b""),
        (b"cHRM", b"xyz"),
        (b"iCCP", b"name\0\1"),
        (b"zTXt", b"key\0\0" + zlib.compress(bytes(2_000_000))),
        (b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
        (b"fcTL", b"x"),
    ],
)
def test_a_png_file_is_read_without_its_damaged_chunks(damaged):
    for content in (png(GREY, "L", 8, damaged), png(GREY, "L", 8, after=chunk(*damaged))):
        assert np.array_equal(pixels_of(content), GREY[..., 0])


def test_a_wrong_checksum_of_a_text_is_ignored_and_one_of_pixels_is_not():
    content = png(GREY, "L", 8, (b"tEXt", b"key\0text"))
    assert np.array_equal(pixels_of(content.replace(b"text", b"next")), GREY[..., 0])
    broken = bytearray(content)
    broken[content.index(b"IDAT") + 10] ^= 1
    with pytest.raises(UnreadableImageError):
        decode(bytes(broken))


@pytest.mark.parametrize("name", [b"eXIf", b"iTXt"])
def test_the_orientation_of_a_png_file_is_kept_if_it_is_intact(name):
    data = {b"eXIf": UPRIGHT_BY_ROTATION, b"iTXt": XMP}[name]
    content = png(GREY, "L", 8, (name, data), (b"pHYs", b""))
    assert np.array_equal(pixels_of(content), np.rot90(GREY[..., 0], -1))
    assert pixels_of(content.replace(chunk(name, data), chunk(name, data)[:-1] + b"?")).shape == (6, 8)


def test_transparency_and_an_intact_file_are_kept():
    content = png(GREY, "L", 8, (b"tRNS", b"\0\7"), (b"pHYs", b""))
    assert drop_damaged_metadata(content) == png(GREY, "L", 8, (b"tRNS", b"\0\7"))
    plain = png(GREY, "L", 8)
    assert drop_damaged_metadata(plain) is plain


@pytest.mark.parametrize("compress", [False, True])
def test_a_tiff_file_is_read_without_its_damaged_tags(compress):
    """Pillow ignores all tags after a damaged one: here, the mark of an alpha channel, and the orientation."""
    rgba = np.concatenate([COLOUR, GREY], axis=2)
    tags = {270: ("I", (1, 2)), 274: ("H", (6,)), 338: ("H", (2,))}
    content = tiff(rgba, 2, 8, compress=compress, tags=tags)
    assert np.array_equal(pixels_of(move_outside(content, 270)), pixels_of(content))
    assert pixels_of(content).shape == (8, 6, 3)


def test_a_tiff_file_with_damaged_tags_of_its_pixels_has_a_reason():
    with pytest.raises(UnreadableImageError, match="the values of tag 320 are outside of the file"):
        decode(move_outside(tiff(GREY, 1, 8, tags={320: ("I", (1, 2))}), 320))


def test_missing_strips_are_not_black():
    with pytest.raises(UnreadableImageError, match="some of its strips are missing"):
        decode(tiff(COLOUR, 2, 8, tags={278: ("I", (1,))}))
    assert np.array_equal(pixels_of(tiff(COLOUR, 2, 8, planar=True)), COLOUR)


@pytest.mark.parametrize("length", [4, 7, 9, 11, 30])
def test_a_tiff_file_that_was_cut_off_is_left_to_the_decoder(length):
    content = tiff(GREY, 1, 8)[:length]
    assert drop_damaged_metadata(content) is content
