"""Every file is judged from one reading of its bytes, and what is no usable image has a reason."""

import io

import numpy as np
import pytest
from PIL import Image

from leyden.stages.prepare.validation import Limits, ValidImage, judge, reread

LIMITS = Limits(min_side=4, max_pixels=10_000, image_size=None, max_kept_pixels=100 * 100)


def encode(image: Image.Image, suffix: str, **options) -> bytes:
    target = io.BytesIO()
    image.save(target, suffix, **options)
    return target.getvalue()


def judge_one(content: bytes, limits: Limits = LIMITS):
    return judge(limits, ("", [("x", content)]))[0]


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
        (encode(Image.new("1", (1000, 11)), "png"), "11000 pixels) exceeds limit of 10000"),
        (encode(Image.new("1", (10_000, 10_000)), "png"), "exceeds limit"),
        (encode(Image.new("F", (9, 9)), "tiff"), "unsupported mode F"),
        (encode(Image.new("LAB", (9, 9)), "tiff"), "unsupported mode LAB"),
        (encode(Image.new("I", (9, 9), 70_000), "tiff"), "unsupported mode I: values from 70000 to 70000"),
    ],
)
def test_a_file_that_is_no_usable_image_has_a_reason(content, reason):
    assert reason in judge_one(content)


def test_limits_are_gone_when_the_work_is_done(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    judge_one(b"")
    assert Image.MAX_IMAGE_PIXELS == 123


def test_the_same_pixels_have_one_digest_whatever_the_file():
    contents = [
        encode(NOISE, "png"),
        encode(NOISE, "bmp"),
        encode(NOISE, "webp", lossless=True),
        encode(NOISE.convert("RGBA"), "png"),
    ]
    digests = {judge_one(content)[0].digest for content in contents}
    assert len(digests) == 1
    others = [
        NOISE.transpose(Image.Transpose.ROTATE_90),
        NOISE.convert("L"),
        Image.frombytes("RGB", (40, 50), NOISE.tobytes()),
    ]
    assert len(digests | {judge_one(encode(other, "png"))[0].digest for other in others}) == 4


def test_pixels_are_kept_where_they_are_few_or_the_size_is_known():
    content = encode(NOISE, "png")
    judged, pixels = judge_one(content)
    assert (judged.height, judged.width, judged.channels, judged.mode) == (
        40,
        50,
        3,
        "RGB",
    ) and pixels == NOISE.tobytes()
    assert judge_one(content, LIMITS._replace(max_kept_pixels=1999))[1] == b""
    row = reread(10_000, (10, 20, 3), ("", [("x", content)]))[0]
    assert judge_one(content, LIMITS._replace(max_kept_pixels=0, image_size=(10, 20)))[1] == row.tobytes()


def test_a_file_is_opened_once(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encode(NOISE, "png"))
    opened = []
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: opened.append(args[0]) or io.FileIO(args[0]))
    assert isinstance(judge(LIMITS, (str(tmp_path), [("a.png", None)]))[0][0], ValidImage)
    assert opened == [str(tmp_path / "a.png")]


def test_the_thumbnail_is_eight_rows_of_nine():
    judged, _ = judge_one(encode(Image.linear_gradient("L").resize((90, 80)), "png"))
    thumb = np.frombuffer(judged.thumb, np.uint8).reshape(8, 9)
    assert (np.diff(thumb.astype(int), axis=0) > 20).all() and (thumb == thumb[:, :1]).all()
