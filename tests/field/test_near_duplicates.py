"""Near duplicates are found among drawings, photographs and sequences, and different ones are not listed."""

import csv
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from leyden.cli import main
from leyden.data.packed import read_report


def prepare(data, out):
    assert main(["prepare", "--data", str(data), "--out", str(out)]) == 0
    with open(out / "duplicates.csv", newline="", encoding="utf-8") as file:
        pairs = {frozenset((row["path"], row["other"])) for row in csv.DictReader(file) if row["kind"] == "near"}
    return pairs, read_report(out)["duplicates"]


def draw_strokes(strokes, generator):
    """Draw dark polylines on white as another hand would: 105x105 pixels, all points a little elsewhere."""
    image = Image.new("L", (105, 105), 250)
    matrix = np.eye(2) + generator.normal(0, 0.08, (2, 2))
    offset = generator.normal(52, 4, 2)
    for points in strokes:
        drawn = (points + generator.normal(0, 3, points.shape)) @ matrix.T + offset
        ImageDraw.Draw(image).line([tuple(point) for point in drawn.tolist()], fill=60, width=3)
    return image


def variants(image):
    """Return the same image saved again, larger, brighter, with more contrast, and shifted by a pixel."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    width, height = image.size
    return {
        "saved again": Image.open(buffer),
        "larger": image.resize((width * 3 // 2, height * 3 // 2), Image.Resampling.BILINEAR),
        "brighter": ImageEnhance.Brightness(image).enhance(0.95),
        "contrast": ImageEnhance.Contrast(image).enhance(1.15),
        "shifted": Image.fromarray(np.roll(np.asarray(image), 1, axis=1)),
    }


def save_with_variants(data, images, every):
    """Save images by label, and the variants of some; return the pairs of both."""
    expected = set()
    for number, (label, image) in enumerate(images):
        (data / label).mkdir(parents=True, exist_ok=True)
        image.save(data / label / f"{number}.png")
        if number % every == 0:
            name, variant = list(variants(image).items())[number // every % 5]
            variant.save(data / label / f"{number} {name}.png")
            expected.add(frozenset((f"{label}/{number}.png", f"{label}/{number} {name}.png")))
    return expected


def test_line_drawings_of_the_same_symbol_are_not_near_duplicates(tmp_path):
    generator = np.random.default_rng(0)
    drawings = []
    for symbol in range(60):
        shapes = generator.integers(3, 6, generator.integers(1, 4))
        strokes = [generator.uniform(-37, 38, (num_points, 2)) for num_points in shapes]
        drawings += [(f"symbol {symbol}", draw_strokes(strokes, generator)) for _ in range(10)]
    expected = save_with_variants(tmp_path / "data", drawings, every=9)
    pairs, counts = prepare(tmp_path / "data", tmp_path / "out")
    assert counts["near_applies"]
    assert len(expected & pairs) >= 0.9 * len(expected)
    assert len(pairs - expected) <= 0.01 * len(drawings)


def test_photographs_with_the_same_composition_are_not_near_duplicates(tmp_path):
    generator = np.random.default_rng(0)
    photographs = []
    sky = np.linspace(230, 40, 48)[:, None, None] * np.ones((1, 64, 3))
    for number in range(200):
        shapes = Image.fromarray(generator.integers(0, 256, (7, 8, 3), np.uint8)).resize((64, 48), Image.BICUBIC)
        pixels = sky / 2 + np.asarray(shapes) / 2 + generator.normal(0, 3, (48, 64, 3))
        photographs.append((f"class {number % 4}", Image.fromarray(pixels.clip(0, 255).astype(np.uint8))))
    expected = save_with_variants(tmp_path / "data", photographs, every=5)
    pairs, _ = prepare(tmp_path / "data", tmp_path / "out")
    assert len(expected & pairs) >= 0.9 * len(expected)
    assert not pairs - expected


def test_digits_and_strokes_of_the_sample_are_not_near_duplicates(tmp_path):
    assert main(["sample", "--out", str(tmp_path / "strokes"), "--kind", "sequences"]) == 0
    first = np.load(tmp_path / "strokes/0/0000.npy")
    noise = np.random.default_rng(0).normal(0, 0.01, first.shape)
    np.save(tmp_path / "strokes/0/noisy.npy", (2 * first + noise).astype(np.float32))
    pairs, _ = prepare(tmp_path / "strokes", tmp_path / "out")
    assert pairs == {frozenset(("0/0000.npy", "0/noisy.npy"))}

    assert main(["sample", "--out", str(tmp_path / "digits")]) == 0
    for path in (tmp_path / "digits").rglob("*.png"):
        with Image.open(path) as image:
            image.resize((32, 32), Image.Resampling.BICUBIC).save(path)
    pairs, _ = prepare(tmp_path / "digits", tmp_path / "out")
    assert len(pairs) <= 0.04 * 1797


@pytest.mark.parametrize("noun", ["image", "sequence"])
def test_near_duplicates_are_not_listed_where_all_examples_look_alike(noun, tmp_path, capsys):
    generator = np.random.default_rng(0)
    page = generator.integers(0, 256, (48, 36))
    for number in range(80):
        folder = tmp_path / f"data/class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        noisy = page + generator.normal(0, 3, page.shape)
        if noun == "image":
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        else:
            np.save(folder / f"{number}.npy", noisy.astype(np.float32))
    pairs, counts = prepare(tmp_path / "data", tmp_path / "out")
    assert not pairs
    assert counts["near_applies"] is False
    assert "near duplicates cannot be distinguished from other examples, and none are listed" in capsys.readouterr().out
    empty = [f"--{stage}={tmp_path / 'none'}" for stage in ("train", "evaluate", "export", "explain")]
    assert main(["report", f"--prepare={tmp_path / 'out'}", f"--out={tmp_path / 'report'}", *empty]) == 0
    page = (tmp_path / "report/data.html").read_text(encoding="utf-8")
    assert f"Near duplicates cannot be distinguished from other {noun}s here" in page
    assert f"There are no exact duplicate {noun}s." in page
