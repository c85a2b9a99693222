"""Every kind of image is read as the same kind of array, and every broken file has a reason."""

import numpy as np
import pytest
from PIL import Image

from leyden.imaging.images import ImageReader, UnreadableImageError, decode, decoder_limits, read_image

RED = np.array([200, 30, 40], np.uint8)


def red(mode: str) -> Image.Image:
    return Image.fromarray(np.broadcast_to(RED, (6, 9, 3)).copy()).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_modes_keep_their_colour(tmp_path, mode):
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    (red("RGB").quantize(4) if mode == "P" else red(mode)).save(path)
    image = read_image(path, 3, (6, 9))
    assert image.shape == (6, 9, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - RED).max() <= 6


def test_grey_modes_have_one_channel(tmp_path):
    for mode in ("L", "1", "LA"):
        red(mode).save(tmp_path / f"{mode}.png")
        decoded = decode(tmp_path / f"{mode}.png")
        assert (decoded.image.mode, decoded.mode) == ("L", mode)
        assert read_image(tmp_path / f"{mode}.png", 1, (6, 9)).shape == (6, 9, 1)


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    Image.fromarray(np.full((4, 4), 0x8123, np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png", 1, (4, 4)) == 0x81).all()


def test_transparent_pixels_are_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png", 3, (4, 4)) == 255).all()


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("L", (8, 4), 0)
    image.paste(255, (0, 0, 4, 4))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise: the left half is at the top
    image.save(tmp_path / "rotated.png", exif=exif)
    assert decode(tmp_path / "rotated.png").image.size == (4, 8)
    upright = read_image(tmp_path / "rotated.png", 1, (8, 4))[..., 0]
    assert (upright[:4] == 255).all()
    assert (upright[4:] == 0).all()


def test_first_frame_of_an_animation(tmp_path):
    Image.new("L", (4, 4), 10).save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (4, 4), 200)])
    assert (read_image(tmp_path / "a.gif", 1, (4, 4)) == 10).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"not an image at all", "not an image"), (None, "truncated")],
)
def test_broken_files_have_a_reason(tmp_path, content, reason):
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.jpg")
        content = (tmp_path / "whole.jpg").read_bytes()[:800]
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / "broken.jpg", 3, (8, 8))


@pytest.mark.parametrize(("max_pixels", "size"), [(9_999, "100x100, above 9999 pixels"), (1_000, "it exceeds")])
def test_a_large_image_is_rejected_before_it_is_decoded(tmp_path, max_pixels, size):
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    content = (tmp_path / "bomb.png").read_bytes()[:50]  # not a pixel is left
    with decoder_limits(max_pixels), pytest.raises(UnreadableImageError, match=f"too large: {size}.*max_pixels"):
        read_image(content, 1, (8, 8), ImageReader(max_pixels=max_pixels))
