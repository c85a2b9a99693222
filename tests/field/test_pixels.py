"""A file has the same pixels, or the same reason, in `leyden prepare` and `leyden predict`."""

import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from leyden.cli import main
from leyden.data.packed import SPLITS, read_paths, read_report, read_split
from leyden.files.tables import read_table
from leyden.models.build import build_model
from tests.imaging.image_files import move_outside, png, tiff

SIDE = 12
CUT_JPEG = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)).save(CUT_JPEG, "jpeg")
BAD_FILES = {
    "cut.jpg": CUT_JPEG.getvalue()[: CUT_JPEG.tell() // 2] + b"\xff\xd9",
    "empty.png": b"",
    "text.png": b"not an image",
    "small.png": png(np.zeros((5, 40, 1)), "L", 8),
    "large.png": png(np.zeros((60, 60, 1)), "L", 8),
    "float.tiff": tiff(np.zeros((SIDE, SIDE, 1)), 1, 32, sample_format=3),
    "cut.png": png(np.zeros((SIDE, SIDE, 1)), "L", 8)[:45],
    "damaged.tiff": tiff(np.zeros((SIDE, SIDE, 1)), 1, 8, compress=True).replace(b"x\x9c", b"xx"),
}


class MeanNetwork(nn.Module):
    """Has the mean of an image's pixels, from 0 to 1, as the first logit: the confidence reveals it."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([mean, torch.zeros_like(mean)], dim=1)


def write_images(folder: Path, maximum: int = 4095, bits: int = 16, count: int = 24, seed: int = 0) -> None:
    """Write two classes of grey noise with values up to `maximum`, as PNG and TIFF files."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, maximum + 1, (SIDE, SIDE, 1))
        pixels[0, 0] = maximum
        path = folder / "ab"[number % 2] / f"{number}.{'png' if number % 3 else 'tiff'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        inverted = int(number % 2 == 0)
        path.write_bytes(png(pixels, "L", bits) if number % 3 else tiff(pixels, inverted, bits, compress=True))


def prepare(data: Path, out: Path, *args: str) -> dict:
    assert main(["prepare", f"--data={data}", f"--out={out}", *args]) == 0
    return read_report(out)


def save_model(path: Path, description: dict) -> Path:
    """Save a checkpoint whose confidence in label a is the logistic function of an image's mean pixel."""
    numbers = {"mean": [0.0] * description["channels"], "std": [1.0] * description["channels"]}
    model = build_model({"class_path": f"{__name__}.MeanNetwork"}, ["a", "b"], description | numbers)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"leyden": model.spec, "state_dict": weights}, path)
    return path


def predict(model: Path, *paths: Path) -> dict[str, dict[str, str]]:
    """Return the row of each file by its name."""
    out = model.with_suffix(".csv")
    assert main(["predict", str(model), *map(str, paths), f"--out={out}", "--trust", "--top_k=1"]) == 0
    return {Path(row["path"]).name: row for row in read_table(out, "predict")}


def mean_pixel(row: dict[str, str]) -> float:
    confidence = float(row["confidence"])
    return math.log(confidence / (1 - confidence)) * (1 if row["prediction"] == "a" else -1)


def digests_of(out: Path) -> dict[str, str]:
    """Return the digest of each image by its path; splits are drawn from it."""
    return {row["path"]: row["sha256"] for row in read_table(out / "manifest.csv", "prepare")}


@pytest.mark.parametrize("args", [(), ("--image_size=[8,8]",), ("--storage=jpeg",), ("--num_workers=2",)])
def test_twelve_of_sixteen_bits_keep_their_grey_levels_in_prepare_and_predict(tmp_path, capsys, args):
    write_images(tmp_path / "data")
    report = prepare(tmp_path / "data", tmp_path / "out", *args)
    assert report["input"]["reader"] == {"min_image_side": 4, "max_pixels": 100_000_000, "bit_depth": 12}
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("prepare: warning: 24 of 24"))
    assert "the largest value of the training images is 4095: all are read as 12 bits" in line
    rows = predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")
    for split in SPLITS:
        images = read_split(tmp_path / "out", split).images[:]
        if not args:
            assert len(np.unique(images)) > 150
        for path, image in zip(read_paths(tmp_path / "out", split), images, strict=True):
            assert mean_pixel(rows[Path(path).name]) == pytest.approx(image.mean() / 255, abs=1e-3 if args else 1e-4)


@pytest.mark.parametrize(("maximum", "bit_depth"), [(255, 8), (1023, 10), (1024, 12), (5000, 14), (65535, 16)])
def test_the_range_is_found_over_the_data(tmp_path, maximum, bit_depth):
    write_images(tmp_path / "data", maximum)
    assert prepare(tmp_path / "data", tmp_path / "out")["input"]["reader"]["bit_depth"] == bit_depth


def test_images_of_eight_bits_among_deeper_ones_are_unchanged(tmp_path):
    write_images(tmp_path / "data")
    write_images(tmp_path / "more", maximum=255, bits=8, count=8, seed=1)
    for path in (tmp_path / "more").rglob("*.png"):
        path.rename(tmp_path / "data/a" / f"eight {path.name}")
    report = prepare(tmp_path / "data", tmp_path / "out")
    assert report["input"]["reader"]["bit_depth"] == 12
    for split in SPLITS:
        images = read_split(tmp_path / "out", split).images
        for path, image in zip(read_paths(tmp_path / "out", split), images, strict=True):
            if "eight" in path:
                assert np.array_equal(image[..., 0], np.asarray(Image.open(tmp_path / "data" / path)))


def test_images_of_eight_bits_have_no_warning(tmp_path, capsys):
    write_images(tmp_path / "data", maximum=255, bits=8)
    assert prepare(tmp_path / "data", tmp_path / "out")["input"]["reader"]["bit_depth"] == 16
    assert "bits per channel" not in capsys.readouterr().err


def test_a_brighter_image_changes_no_digest_and_is_white_if_it_is_new(tmp_path):
    write_images(tmp_path / "data")
    report = prepare(tmp_path / "data", tmp_path / "out")
    before = digests_of(tmp_path / "out")
    bright = png(np.full((SIDE, SIDE, 1), 65535), "L", 16)
    (tmp_path / "data/a/bright.png").write_bytes(bright)
    row = predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")["bright.png"]
    assert mean_pixel(row) == pytest.approx(1, abs=1e-4)
    prepare(tmp_path / "data", tmp_path / "again")
    after = digests_of(tmp_path / "again")
    assert {path: after[path] for path in before} == before


def test_the_training_images_decide_the_range(tmp_path):
    for seed, split in enumerate(SPLITS):
        write_images(tmp_path / "data" / split, maximum=4095 if split == "train" else 65535, seed=seed)
    assert prepare(tmp_path / "data", tmp_path / "out")["input"]["reader"]["bit_depth"] == 12


def test_a_model_of_an_older_version_reads_sixteen_bits(tmp_path):
    write_images(tmp_path / "data")
    description = prepare(tmp_path / "data", tmp_path / "out")["input"]
    del description["reader"]
    (tmp_path / "grey.png").write_bytes(png(np.full((SIDE, SIDE, 1), 0x8000), "L", 16))
    row = predict(save_model(tmp_path / "m.ckpt", description), tmp_path / "grey.png")["grey.png"]
    assert mean_pixel(row) == pytest.approx(128 / 255, abs=1e-4)


def test_a_file_is_rejected_for_the_same_reason(tmp_path):
    write_images(tmp_path / "data")
    for name, content in BAD_FILES.items():
        (tmp_path / "data/a" / name).write_bytes(content)
    (tmp_path / "data/a/zero.png").symlink_to("/dev/zero")
    limits = ("--min_image_side=6", "--max_pixels=2000", "--max_rejected_fraction=0.5")
    report = prepare(tmp_path / "data", tmp_path / "out", *limits)
    rejected = {Path(row["path"]).name: row["reason"] for row in read_table(tmp_path / "out/rejected.csv", "prepare")}
    rows = predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")
    assert {name: row["error"] for name, row in rows.items() if row["error"]} == rejected
    assert set(rejected) == {*BAD_FILES, "zero.png"}
    assert rejected["small.png"] == "too small: 40x5, a side is below 6 pixels (min_image_side)"
    assert rejected["large.png"] == "too large: 60x60, above 2000 pixels (max_pixels)"
    assert rejected["zero.png"] == "not a regular file"


def rotated_jpeg() -> tuple[bytes, bytes]:
    """Return a JPEG that is shown rotated, and the same with a text among its EXIF tags whose type is a number's."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112], exif[0x131] = 6, "some software"
    picture = Image.linear_gradient("L").resize((16, 8))
    picture.save(file, "jpeg", exif=exif, quality=100)
    content = bytearray(file.getvalue())
    entry = content.index(struct.pack(">HHI", 0x131, 2, 14))
    content[entry + 2 : entry + 4] = struct.pack(">H", 12)
    return file.getvalue(), bytes(content)


def test_a_picture_with_damaged_exif_is_prepared_and_predicted(tmp_path):
    write_images(tmp_path / "data", maximum=255, bits=8)
    for number, content in enumerate(rotated_jpeg()):
        (tmp_path / "data/a" / f"rotated {number}.jpg").write_bytes(content)
    report = prepare(tmp_path / "data", tmp_path / "out", "--storage=jpeg")
    assert report["rejected"] == 0
    rows = read_table(tmp_path / "out/manifest.csv", "prepare")
    sizes = {(row["height"], row["width"], row["sha256"]) for row in rows if "rotated" in row["path"]}
    assert len(sizes) == 1
    assert next(iter(sizes))[:2] == ("16", "8")
    predicted = predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")
    assert not any(row["error"] for row in predicted.values())


def test_a_picture_with_damaged_metadata_is_prepared_and_predicted(tmp_path):
    write_images(tmp_path / "data", maximum=255, bits=8)
    pixels = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 1))
    files = {
        "resolution.png": png(pixels, "L", 8, (b"pHYs", b"")),
        "text.png": png(pixels + 1, "L", 8, (b"zTXt", b"key\0\0" + zlib.compress(bytes(10_000_000)))),
        "profile.png": png(pixels + 2, "L", 8, (b"iCCP", b"name\0\1")),
        "checksum.png": png(pixels + 3, "L", 8, (b"tEXt", b"key\0text")).replace(b"text", b"next"),
        "description.tiff": move_outside(tiff(pixels + 4, 1, 8, tags={270: ("I", (1, 2))}), 270),
    }
    for name, content in files.items():
        (tmp_path / "data/a" / name).write_bytes(content)
    report = prepare(tmp_path / "data", tmp_path / "out", "--storage=jpeg")
    assert report["rejected"] == 0
    rows = predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")
    for number, name in enumerate(files):
        assert mean_pixel(rows[name]) == pytest.approx(((pixels + number) % 256).mean() / 255, abs=1e-4)


@pytest.mark.parametrize(
    "error", [struct.error("bad"), MemoryError(), RecursionError("deep"), ZeroDivisionError("zero")]
)
def test_a_file_that_breaks_the_decoder_is_a_row_and_the_others_are_predicted(tmp_path, monkeypatch, error):
    write_images(tmp_path / "data", maximum=255, bits=8)
    report = prepare(tmp_path / "data", tmp_path / "out")
    image_open = Image.open

    def fail_once(file: io.BytesIO, *args: object, **kwargs: object) -> Image.Image:
        if file.getvalue() == (tmp_path / "data/a/4.png").read_bytes():
            raise error
        return image_open(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", fail_once)
    rows = predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")
    assert [name for name, row in rows.items() if row["error"]] == ["4.png"]
    assert sum(bool(row["prediction"]) for row in rows.values()) == 23
    prepare(tmp_path / "data", tmp_path / "again", "--num_workers=1")
    (rejected,) = read_table(tmp_path / "again/rejected.csv", "prepare")
    assert rejected["reason"] == rows["4.png"]["error"]


def test_decoders_write_nothing(tmp_path, capfd, monkeypatch):
    """libtiff writes errors to the descriptor, and Pillow warns of images that are smaller than the model's limit."""
    write_images(tmp_path / "data", maximum=255, bits=8)
    (tmp_path / "data/a/damaged.tiff").write_bytes(BAD_FILES["damaged.tiff"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE - 1)
    report = prepare(tmp_path / "data", tmp_path / "out")
    predict(save_model(tmp_path / "m.ckpt", report["input"]), tmp_path / "data")
    assert report["rejected"] == 1
    assert [line for line in capfd.readouterr().err.splitlines() if not line.startswith("prepare: warning: no ")] == []
    assert Image.MAX_IMAGE_PIXELS == SIDE * SIDE - 1


@pytest.mark.parametrize(
    "reader", [3, {"bit_depth": 11}, {"bit_depth": None}, {"max_pixels": "many"}, {"min_image_side": 1.5}]
)
def test_an_invalid_description_of_the_reader_is_reported(tmp_path, error_of, reader):
    write_images(tmp_path / "data")
    description = prepare(tmp_path / "data", tmp_path / "out")["input"]
    model = save_model(tmp_path / "m.ckpt", description | {"reader": reader})
    line = error_of("predict", str(model), str(tmp_path / "data"), f"--out={tmp_path}/p.csv", "--trust")
    assert "the file is damaged or was edited" in line


def test_keys_of_a_later_version_are_ignored(tmp_path):
    write_images(tmp_path / "data")
    description = prepare(tmp_path / "data", tmp_path / "out")["input"]
    description["reader"]["new"] = description["new"] = 1
    rows = predict(save_model(tmp_path / "m.ckpt", description), tmp_path / "data")
    assert not any(row["error"] for row in rows.values())
