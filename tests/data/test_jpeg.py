"""Images stored as JPEG files are decoded like the image reader decodes them, however they are indexed."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from leyden.data.jpeg import JpegImages
from leyden.imaging.images import decode, to_array
from tests.conftest import SHAPES, draw_shape


def encode(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def jpegs(files: list[bytes], channels: int = 3, window: tuple[int, ...] | None = None) -> JpegImages:
    offsets = np.cumsum([0, *map(len, files)])
    return JpegImages(np.frombuffer(bytearray(b"".join(files)), np.uint8), offsets, (40, 60), channels, window)


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Colour and grey, smooth and noisy, baseline and progressive, of every subsampling."""
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (50, 70, 3), np.uint8))
    drawn = [draw_shape(SHAPES[number % 3], 90 + number, 60, generator) for number in range(6)]
    return [
        *(encode(image, quality=60 + 5 * number) for number, image in enumerate(drawn)),
        *(encode(noise, subsampling=subsampling) for subsampling in ("4:4:4", "4:2:2", "4:2:0")),
        encode(drawn[0], progressive=True),
        encode(drawn[1].convert("L")),
        encode(noise.convert("L"), progressive=True),
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_decodes_like_the_image_reader(files, channels):
    files = files[-2:] if channels == 1 else files
    images = jpegs(files, channels=channels)
    assert images.shape == (len(files), 40, 60, channels)
    assert images.nbytes == len(files) * 40 * 60 * channels
    for row, file in enumerate(files):
        expected = to_array(decode(file).image, channels, (40, 60))
        # Another build of libjpeg may round differently; the resize rounds to 8 bits once, Pillow twice.
        assert np.abs(images[row].astype(int) - expected).max() <= 2


def test_is_indexed_like_an_array(files):
    images = jpegs(files)
    every = images[:]
    assert every.shape == images.shape
    assert every.dtype == np.uint8
    assert len(images) == len(files)
    for rows in (
        3,
        -1,
        np.int64(2),
        slice(2, 9, 3),
        slice(0, 0),
        [4, 1, 1],
        np.array([7, 0]),
        np.array([], np.int64),
        every[:, 0, 0, 0] > 128,
    ):
        assert np.array_equal(images[rows], every[rows]), rows
    with pytest.raises(IndexError):
        images[len(files)]


def test_a_window_is_a_part_of_the_resized_image(files):
    full, window = jpegs(files)[:], jpegs(files, window=(3, 5, 20, 30))
    assert window.shape == (len(files), 20, 30, 3)
    assert np.array_equal(window[:], full[:, 3:23, 5:35])


def test_boxes_are_cropped_before_they_are_resized(files):
    boxes = [(number, 2 * number, 30, 20 + number) for number in range(len(files))]
    sizes = []

    def find_box(index: int, height: int, width: int) -> tuple[int, ...]:
        sizes.append((height, width))
        return boxes[index]

    out = jpegs(files).read(np.arange(len(files)), (16, 24), find_box)
    assert out.shape == (len(files), 3, 16, 24)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert sorted(sizes) == sorted((image.height, image.width) for image in (decode(file).image for file in files))
    for row, (file, (top, left, height, width)) in enumerate(zip(files, boxes, strict=True)):
        box = decode(file).image.convert("RGB").crop((left, top, left + width, top + height))
        assert np.abs(out[row].permute(1, 2, 0).numpy().astype(int) - to_array(box, 3, (16, 24))).max() <= 2


def test_slightly_damaged_files_write_no_lines_and_others_do(capfd):
    content = bytearray(encode(Image.linear_gradient("L")))
    end = content.rindex(b"\xff\xd9")
    content[end:end] = bytes(9)  # more data than the image needs
    content = np.frombuffer(content, np.uint8)
    damaged = JpegImages(content, np.array([0, len(content)]), (16, 16), 1)

    def find_box(index: int, height: int, width: int) -> list[int]:
        os.write(2, b"a line of another library\n")
        return [0, 0, height, width]

    assert damaged.read(np.array([0]), (16, 16), find_box).shape == (1, 1, 16, 16)
    assert capfd.readouterr().err == "a line of another library\n"
