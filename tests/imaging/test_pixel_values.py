"""The pixels of every kind of file are right: files are written byte by byte, and values computed without Pillow."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from leyden.imaging.images import ImageReader, UnreadableImageError, decode
from tests.imaging.image_files import chunk, png, tiff

TWELVE = ImageReader(bit_depth=12)
ALPHA, PREMULTIPLIED, UNSPECIFIED = ({338: ("H", (kind,))} for kind in (2, 1, 0))
LAYOUTS = [(order, compress) for order in "<>" for compress in (False, True)]
UPRIGHT = {  # how an image of each EXIF orientation becomes upright
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}


def values(channels: int, below: int) -> np.ndarray:
    return np.random.default_rng(channels * below).integers(0, below, (5, 7, channels))


def read(content: bytes, reader: ImageReader = ImageReader()) -> np.ndarray:
    pixels = np.asarray(decode(content, reader).image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Blend pixels with white; alpha lies in [0, 1]."""
    return np.round(pixels * alpha + 255 * (1 - alpha)).astype(int)


@pytest.mark.parametrize(("order", "compress"), LAYOUTS)
def test_tiff_of_eight_bits(order, compress):
    grey, colour, bits = values(1, 256), values(3, 256), values(1, 2)
    assert np.array_equal(read(tiff(grey, 1, 8, order, compress)), grey)
    assert np.array_equal(read(tiff(grey, 0, 8, order, compress)), 255 - grey)  # 0 is white
    assert np.array_equal(read(tiff(bits, 1, 1, order, compress)), 255 * bits)
    assert np.array_equal(read(tiff(bits, 0, 1, order, compress)), 255 - 255 * bits)
    assert np.array_equal(read(tiff(colour, 2, 8, order, compress)), colour)
    assert np.array_equal(read(tiff(colour, 2, 8, order, compress, planar=True)), colour)


@pytest.mark.parametrize(("order", "compress"), LAYOUTS)
def test_tiff_of_sixteen_bits(order, compress):
    grey, colour, cmyk = values(1, 1 << 16), values(3, 1 << 16), values(4, 1 << 16)
    assert np.array_equal(read(tiff(grey, 1, 16, order, compress)), grey >> 8)
    assert np.array_equal(read(tiff(grey, 0, 16, order, compress)), 255 - (grey >> 8))  # 0 is white
    assert np.array_equal(read(tiff(colour, 2, 16, order, compress)), colour >> 8)
    ink, black = 255 - (cmyk[..., :3] >> 8), 255 - (cmyk[..., 3:] >> 8)
    assert np.array_equal(read(tiff(cmyk, 5, 16, order, compress)), np.round(ink * black / 255).astype(int))


@pytest.mark.parametrize(("order", "compress"), LAYOUTS)
def test_tiff_that_uses_twelve_of_sixteen_bits(order, compress):
    grey, colour = values(1, 1 << 12), values(3, 1 << 12)
    for photometric, expected in ((1, grey >> 4), (0, 255 - (grey >> 4))):
        content = tiff(grey, photometric, 16, order, compress)
        assert np.array_equal(read(content, TWELVE), expected)
        assert np.array_equal(read(content, ImageReader(bit_depth=None)), expected)
    assert np.array_equal(read(tiff(colour, 2, 16, order, compress), TWELVE), colour >> 4)
    alpha = np.full((5, 7, 1), 65535)
    alpha[0, 0] = 0
    pixels = np.concatenate([colour, alpha], axis=2)
    transparent = tiff(pixels, 2, 16, order, compress, tags=ALPHA)
    assert np.array_equal(read(transparent, TWELVE), on_white(colour >> 4, alpha > 0))
    ignored = tiff(pixels, 2, 16, order, compress, tags=UNSPECIFIED)
    assert np.array_equal(read(ignored, TWELVE), colour >> 4)


def test_brighter_values_than_the_range_are_white():
    grey = np.array([[[4095], [4096], [65535], [16]]])
    assert read(png(grey, "L", 16), TWELVE._replace(min_image_side=1))[..., 0].tolist() == [[255, 255, 255, 1]]


@pytest.mark.parametrize(("order", "compress"), LAYOUTS)
def test_signed_and_wider_tiff_is_read_exactly_or_has_a_reason(order, compress):
    small, signed = values(1, 4096), values(1, 4096) - 2000
    assert np.array_equal(read(tiff(small, 1, 16, order, compress, sample_format=2), TWELVE), small >> 4)
    assert np.array_equal(read(tiff(small, 1, 32, order, compress, sample_format=2), TWELVE), small >> 4)
    for bits in (16, 32):
        with pytest.raises(UnreadableImageError, match=rf"unsupported mode I: values from {signed.min()} to"):
            decode(tiff(signed, 1, bits, order, compress, sample_format=2))
    with pytest.raises(UnreadableImageError, match="unsupported mode F"):
        decode(tiff(small, 1, 32, order, compress, sample_format=3))
    with pytest.raises(UnreadableImageError, match="separate planes"):
        decode(tiff(values(3, 4096), 2, 16, order, compress, planar=True))
    with pytest.raises(UnreadableImageError, match="signed numbers of 8 bits"):
        decode(tiff(values(1, 100) - 50, 1, 8, order, compress, sample_format=2))


@pytest.mark.parametrize("order", "<>")
def test_alpha_in_a_plane_of_its_own_has_a_reason(order):
    with pytest.raises(UnreadableImageError, match="grey and alpha"):
        decode(tiff(values(2, 256), 1, 8, order, True, planar=True, tags=ALPHA))
    grey = values(2, 256)
    assert np.array_equal(read(tiff(grey, 1, 8, order, True, planar=True, tags=UNSPECIFIED)), grey[..., :1])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_grey_value_is_white_at_any_depth(bits):
    grey = values(1, 1 << bits)
    key = int(grey[0, 0, 0])
    expected = np.where(grey == key, 255, grey * 255 // ((1 << bits) - 1))
    assert np.array_equal(read(png(grey, "L", bits, (b"tRNS", struct.pack(">H", key)))), expected)


def test_a_kind_of_tiff_that_cannot_be_read_is_not_called_no_image():
    with pytest.raises(UnreadableImageError, match="damaged TIFF, or of an unsupported kind"):
        decode(tiff(values(5, 256), 2, 16))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("order", "compress"), LAYOUTS)
def test_orientation_of_tiff(orientation, order, compress):
    tags = {274: ("H", (orientation,))}
    for channels, bits in ((1, 8), (3, 8), (1, 16), (3, 16)):
        pixels = values(channels, 1 << bits)
        content = tiff(pixels, 1 if channels == 1 else 2, bits, order, compress, tags=tags)
        assert np.array_equal(read(content), UPRIGHT[orientation](pixels >> (bits - 8)))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_orientation_of_other_formats(orientation, suffix):
    pixels = values(3, 256)
    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.fromarray(pixels.astype(np.uint8)).save(file, suffix, exif=exif, lossless=True)
    assert np.array_equal(read(file.getvalue()), UPRIGHT[orientation](pixels))


def test_an_orientation_behind_the_pixels_is_applied():
    exif, pixels = Image.Exif(), values(1, 1 << 16)
    exif[274] = 6
    content = png(pixels, "L", 16, after=chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    assert np.array_equal(read(content), UPRIGHT[6](pixels >> 8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_with_and_without_a_transparent_value(bits):
    grey = values(1, 1 << bits)
    key = int(grey[2, 3, 0])
    shown = grey >> 8 if bits == 16 else grey * 255 // ((1 << bits) - 1)
    assert np.array_equal(read(png(grey, "L", bits)), shown)
    assert np.array_equal(read(png(grey, "L", bits, (b"tRNS", struct.pack(">H", key)))), on_white(shown, grey != key))


@pytest.mark.parametrize("bits", [8, 16])
def test_colour_png_with_and_without_transparency(bits):
    colour = values(3, 1 << bits)
    key = colour[2, 3]
    shown, is_visible = colour >> (bits - 8), (colour != key).any(axis=2, keepdims=True)
    assert np.array_equal(read(png(colour, "RGB", bits)), shown)
    content = png(colour, "RGB", bits, (b"tRNS", struct.pack(">3H", *key.tolist())))
    assert np.array_equal(read(content), on_white(shown, is_visible))
    for mode, channels in (("LA", 1), ("RGBA", 3)):
        pixels = values(channels + 1, 1 << bits) >> (bits - 8)
        expected = on_white(pixels[..., :-1], pixels[..., -1:] / 255)
        assert np.array_equal(read(png(pixels << (bits - 8), mode, bits)), expected)


def test_png_that_uses_twelve_of_sixteen_bits():
    for mode, channels in (("RGB", 3), ("RGBA", 3), ("LA", 1)):
        pixels = values(channels, 1 << 12)
        alpha = np.full((5, 7, len(mode) - channels if mode != "RGB" else 0), 65535)
        content = png(np.concatenate([pixels, alpha], axis=2), mode, 16)
        assert np.array_equal(read(content, TWELVE), pixels >> 4), mode


def test_palette_with_alpha():
    palette, alpha = values(3, 256)[0, :4], np.array([0, 100, 255, 255])
    indices = values(1, 4)
    chunks = (b"PLTE", palette.astype(np.uint8).tobytes()), (b"tRNS", alpha.astype(np.uint8).tobytes())
    expected = on_white(palette[indices[..., 0]], alpha[indices] / 255)
    for bits in (2, 8):
        assert np.array_equal(read(png(indices, "P", bits, *chunks)), expected)


def test_premultiplied_alpha_of_sixteen_bits():
    alpha = np.full((5, 7, 1), 0x8080)
    pixels = values(3, 0x8080)
    content = tiff(np.concatenate([pixels, alpha], axis=2), 2, 16, tags=PREMULTIPLIED)
    assert np.abs(read(content) - (pixels / 257 + 255 * (1 - 0x80 / 255))).max() <= 2


@pytest.mark.parametrize("is_ycck", [False, True])
def test_cmyk_jpeg_of_adobe(is_ycck):
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), (10, 200, 60, 30)).save(file, "JPEG", quality=100)
    content = bytearray(file.getvalue())
    stored = np.array([245, 55, 195, 225])  # inverted
    if is_ycck:
        content[content.index(b"Adobe") + 11] = 2  # the stored channels are then Y, Cb, Cr and K
        y, blue, red = stored[0], stored[1] - 128, stored[2] - 128
        colours = [y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue]
        stored = np.array([*(255 - np.clip(colours, 0, 255)), stored[3]])
    assert np.abs(read(bytes(content))[3, 3] - stored[:3] * stored[3] / 255).max() <= 1.5


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_is_read(suffix):
    frames, file = [Image.new("RGB", (8, 8), colour) for colour in ((200, 10, 10), (10, 200, 10))], io.BytesIO()
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(file, suffix, save_all=True, append_images=frames[1:], **options)
    assert (read(file.getvalue()) == (200, 10, 10)).all()


def test_transparent_gif_and_webp_are_on_white():
    indexed, file = Image.new("P", (8, 8), 1), io.BytesIO()
    indexed.putpalette([0, 0, 0, 200, 10, 10])
    indexed.putpixel((0, 0), 0)
    indexed.save(file, "gif", transparency=0)
    assert read(file.getvalue())[0, :2].tolist() == [[255, 255, 255], [200, 10, 10]]
    clear, file = Image.new("RGBA", (8, 8), (200, 10, 10, 0)), io.BytesIO()
    clear.save(file, "webp", lossless=True)
    assert (read(file.getvalue()) == 255).all()
