"""Every file is validated by reading it once, and every unusable one has a reason."""

import io
import os
from functools import partial

import numpy as np
import pytest
from PIL import Image

from leyden.imaging.images import ImageReader
from leyden.stages.prepare.validation import Limits, ValidImage, convert_images, to_pixels, validate_images

READER = ImageReader(min_image_side=4, max_pixels=10_000)
LIMITS = Limits(READER, image_size=None, max_kept_pixels=100 * 100)


def encode(image: Image.Image, suffix: str, **options) -> bytes:
    target = io.BytesIO()
    image.save(target, suffix, **options)
    return target.getvalue()


def validate_one(content: bytes, limits: Limits = LIMITS):
    return validate_images(limits, ("", [("x", content)]))[0]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"plain text", "not an image"),
        (encode(NOISE, "eps"), "not an image"),  # would start an interpreter
        (encode(NOISE, "jpeg")[:900], "truncated"),
        (encode(NOISE, "png")[:2000], "truncated"),
        (encode(Image.new("L", (3, 400)), "png"), "too small: 3x400, a side is below 4 pixels"),
        (encode(Image.new("1", (1000, 11)), "png"), "too large: 1000x11, above 10000 pixels (max_pixels)"),
        (encode(Image.new("1", (10_000, 10_000)), "png"), "too large: it exceeds max_pixels"),
        (encode(Image.new("F", (9, 9)), "tiff"), "unsupported mode F"),
        (encode(Image.new("LAB", (9, 9)), "tiff"), "unsupported mode LAB"),
        (encode(Image.new("I", (9, 9), 70_000), "tiff"), "unsupported mode I: values from 70000 to 70000"),
    ],
)
def test_unusable_files_have_a_reason(content, reason):
    assert reason in validate_one(content)


def test_limits_are_reset_after_the_work(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    validate_one(b"")
    assert Image.MAX_IMAGE_PIXELS == 123


def test_the_digest_depends_on_the_pixels_alone():
    contents = [
        encode(NOISE, "png"),
        encode(NOISE, "bmp"),
        encode(NOISE, "webp", lossless=True),
        encode(NOISE.convert("RGBA"), "png"),
    ]
    digests = {validate_one(content)[0].digest for content in contents}
    assert len(digests) == 1
    others = [
        NOISE.transpose(Image.Transpose.ROTATE_90),
        NOISE.convert("L"),
        Image.frombytes("RGB", (40, 50), NOISE.tobytes()),
    ]
    assert len(digests | {validate_one(encode(other, "png"))[0].digest for other in others}) == 4


def test_pixels_are_kept_if_they_are_few_or_the_size_is_known():
    content = encode(NOISE, "png")
    image, pixels = validate_one(content)
    assert (image.height, image.width, image.channels, image.mode) == (40, 50, 3, "RGB")
    assert pixels == NOISE.tobytes()
    assert validate_one(content, LIMITS._replace(max_kept_pixels=1999))[1] == b""
    row = convert_images(10_000, partial(to_pixels, (10, 20, 3), READER), ("", [("x", content)]))[0]
    assert validate_one(content, LIMITS._replace(max_kept_pixels=0, image_size=(10, 20)))[1] == row.tobytes()


def test_a_file_is_opened_once(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encode(NOISE, "png"))
    opened, os_open = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *args: opened.append(path) or os_open(path, *args))
    assert isinstance(validate_images(LIMITS, (str(tmp_path), [("a.png", None)]))[0][0], ValidImage)
    assert opened == [str(tmp_path / "a.png")]


def test_the_thumbnail_is_sixteen_rows_of_eighteen():
    image, _ = validate_one(encode(Image.linear_gradient("L").resize((90, 80)), "png"))
    thumbnail = np.frombuffer(image.thumbnail, np.uint8).reshape(16, 18)
    assert (np.diff(thumbnail.astype(int), axis=0) > 10).all()
    assert (thumbnail == thumbnail[:, :1]).all()
