"""Damaged image files, and files that are bombs, have a reason, whatever the decoder does with them."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from leyden.imaging.images import ImageReader, UnreadableImageError, decode, decoder_limits, read_image
from tests.imaging.image_files import chunk, png, tiff

NUM_MUTATIONS = 40  # of each file
BYTES = (0, 1, 2, 3, 4, 5, 7, 8, 10, 12, 13, 64, 127, 128, 254, 255)  # among them EXIF's types
GREY = np.full((8, 8, 1), 7)


def encode(image: Image.Image, suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def make_files() -> dict[str, bytes]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)).resize((32, 24))
    exif = Image.Exif()
    exif.update({0x112: 6, 0x11A: 72.5, 0x11B: 72.0, 0x128: 2, 0x10F: "maker", 0x131: "software"})
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x9003: "2020:01:01 00:00:00", 0x927C: b"x" * 40})
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.5)})
    deep = np.random.default_rng(1).integers(0, 1 << 16, (24, 32, 3))
    tags = {274: ("H", (6,))}
    return {
        **{suffix: encode(picture, suffix, exif=exif) for suffix in ("jpeg", "png", "webp", "tiff")},
        "lossless webp": encode(picture, "webp", exif=exif, lossless=True),
        "jpeg in tiff": encode(picture, "tiff", compression="jpeg"),
        "lzw": encode(picture, "tiff", compression="tiff_lzw"),
        "fax": encode(picture.convert("1"), "tiff", compression="group4"),
        "bmp": encode(picture, "bmp"),
        "gif": encode(picture, "gif", save_all=True, append_images=[picture.rotate(90)]),
        "palette": encode(picture.quantize(16), "png", transparency=1),
        "cmyk": encode(picture.convert("CMYK"), "jpeg"),
        "mpo": encode(picture, "mpo", save_all=True, append_images=[picture], exif=exif),
        "deep png": png(deep, "RGB", 16, (b"tRNS", b"\0\1\0\1\0\1")),
        "deep tiff": tiff(deep, 2, 16, compress=True, tags=tags),
        "deep inverted tiff": tiff(deep[..., :1], 0, 16, ">", tags=tags),
    }


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Change 1 to 4 places, more often near the start, where headers and EXIF are."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4))):
        place = generator.randrange(min(len(changed), 600) if generator.random() < 0.6 else len(changed))
        kind = generator.random()
        if kind < 0.8:
            changed[place] = generator.choice(BYTES)
        elif kind < 0.9:
            del changed[place : place + generator.randint(1, 20)]
        else:
            changed[place:place] = generator.randbytes(4)
    return bytes(changed)


@pytest.mark.parametrize("name", make_files())
def test_a_changed_file_is_read_or_has_a_reason(name):
    content, generator, num_rejected = make_files()[name], random.Random(name), 0
    with decoder_limits(ImageReader().max_pixels):
        assert read_image(content, 3, (12, 16)).any()
        for _ in range(NUM_MUTATIONS):
            try:
                assert read_image(mutate(content, generator), 3, (12, 16)).shape == (12, 16, 3)
            except UnreadableImageError as error:
                assert "\n" not in str(error)
                assert 0 < len(str(error)) < 300
                num_rejected += 1
    assert num_rejected > 0


@pytest.mark.parametrize(
    "error", [struct.error("x"), MemoryError(), RecursionError(), TypeError(), KeyError(5), ZeroDivisionError("y")]
)
def test_any_exception_of_a_decoder_is_a_reason(monkeypatch, error):
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(UnreadableImageError, match=type(error).__name__ if str(error) else "damaged|memory"):
        decode(png(GREY, "L", 8))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.8])
def test_a_jpeg_that_was_cut_and_ended_is_truncated(mode, kept):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)).convert(mode)
    content = encode(picture, "jpeg")
    decode(content + b"\0\0")  # bytes after the end are harmless
    with pytest.raises(UnreadableImageError, match="truncated: the JPEG data ends before the image does"):
        decode(content[: int(kept * len(content))] + b"\xff\xd9")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}])
def test_a_complete_jpeg_may_end_in_middle_grey(options):
    for mode, colour in (("L", 127), ("L", 128), ("RGB", (128, 128, 128)), ("CMYK", (127, 127, 127, 127))):
        picture = Image.new(mode, (37, 21), colour)
        picture.paste(0, (0, 0, 9, 9))
        decode(encode(picture, "jpeg", **options))


@pytest.mark.parametrize("damage", ["type", "offset", "count", "all"])
@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp", "tiff"])
def test_damaged_exif_does_not_reject_a_good_picture(suffix, damage):
    """Only the orientation is read; if the block is damaged altogether, the picture is taken as it is."""
    picture = Image.new("RGB", (16, 8), "red")
    exif = Image.Exif()
    exif.update({0x112: 6, 0x11A: 72.5, 0x131: "some software", 0x132: "2020:01:01 00:00:00"})
    content = encode(picture, suffix, exif=exif)
    order = ">" if b"MM\0*" in content else "<"
    entry = content.index(struct.pack(f"{order}HHI", 0x131, 2, 14))
    changed = bytearray(content)
    if damage == "type":
        changed[entry + 2 : entry + 4] = struct.pack(f"{order}H", 12)  # a text becomes numbers
    elif damage == "offset":
        changed[entry + 8 : entry + 12] = b"\xff\xff\xff\x7f"
    elif damage == "count":
        changed[entry + 4 : entry + 8] = struct.pack(f"{order}I", 0)
    elif suffix == "tiff":
        pytest.skip("the directory of the pixels itself")
    else:
        start = content.index(b"MM\0*" if order == ">" else b"II*\0")
        changed[start + 4 : start + 8] = b"\x01\x02\x03\x04"
    if suffix == "png":  # whose chunks have checksums
        start = changed.index(b"eXIf")
        (length,) = struct.unpack(">I", changed[start - 4 : start])
        changed[start + 4 + length : start + 8 + length] = struct.pack(
            ">I", zlib.crc32(changed[start : start + 4 + length])
        )
    with decoder_limits(ImageReader().max_pixels):
        image = decode(bytes(changed)).image
    assert image.size == ((16, 8) if damage == "all" else (8, 16))
    assert image.getpixel((3, 3))[0] >= 250


def compressed_zeros(megabytes: int) -> bytes:
    encoder = zlib.compressobj(9)
    return b"".join(encoder.compress(bytes(1 << 20)) for _ in range(megabytes)) + encoder.flush()


ZEROS = compressed_zeros(64)
HUGE_TILE = {322: ("I", (65520,)), 323: ("I", (32752,)), 324: ("I", (8,)), 325: ("I", (64,))}
METADATA_BOMBS = {
    "zTXt": png(GREY, "L", 8, (b"zTXt", b"k\0\0" + ZEROS)),
    "iTXt": png(GREY, "L", 8, (b"iTXt", b"k\0\1\0\0\0" + ZEROS)),
    "iTXt behind the pixels": png(GREY, "L", 8, after=chunk(b"iTXt", b"k\0\1\0\0\0" + ZEROS)),
    "iCCP": png(GREY, "L", 8, (b"iCCP", b"k\0\0" + ZEROS)),
}
BOMBS = {
    "tiles": tiff(GREY, 1, 8, compress=True, tags=HUGE_TILE),
    "samples": tiff(GREY, 1, 8, tags={277: ("I", (2**31,))}),
    "jpeg": encode(Image.new("RGB", (8, 8)), "jpeg").replace(b"\0\x11\x08\0\x08\0\x08", b"\0\x11\x08\xff\xff\xff\xff"),
    "gif": b"GIF89a\xff\xff\xff\xff" + encode(Image.new("L", (8, 8)), "gif")[10:],
}


@pytest.mark.parametrize("name", [*BOMBS, *METADATA_BOMBS])
def test_a_bomb_is_decoded_or_rejected_in_little_memory(name):
    tracked = pytest.importorskip("resource")
    before = tracked.getrusage(tracked.RUSAGE_SELF).ru_maxrss
    with decoder_limits(ImageReader().max_pixels):
        if name in METADATA_BOMBS:
            assert np.array_equal(np.asarray(decode(METADATA_BOMBS[name]).image), GREY[..., 0])
        else:
            with pytest.raises(UnreadableImageError):
                decode(BOMBS[name])
    assert tracked.getrusage(tracked.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_only_the_first_of_many_frames_is_decoded(monkeypatch):
    frames = [Image.new("L", (8, 8), number % 250) for number in range(300)]
    files = [encode(frames[0], suffix, save_all=True, append_images=frames[1:]) for suffix in ("gif", "webp", "tiff")]
    seeks = []
    for plugin in ("GifImagePlugin.GifImageFile", "WebPImagePlugin.WebPImageFile", "TiffImagePlugin.TiffImageFile"):
        monkeypatch.setattr(f"PIL.{plugin}.seek", lambda *args: seeks.append(args))
    for content in files:
        assert decode(content).image.size == (8, 8)
    assert seeks == []
