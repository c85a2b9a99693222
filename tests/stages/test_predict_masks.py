"""`leyden predict` with a model of masks: a PNG file for each image in its size, and a table of shares."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leyden.stages.predict
from leyden.cli import main
from leyden.files.tables import read_table
from leyden.stages.predict.inputs import InputFile
from leyden.stages.predict.masks import name_masks
from tests.stages.dense_model import PixelModel


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change to a folder with images of which the right third is bright, and a model that finds it."""
    monkeypatch.setattr(leyden.stages.predict, "load", lambda *_, **__: PixelModel())
    monkeypatch.chdir(tmp_path)
    for name, (height, width) in {"a.png": (6, 8), "sub/b.bmp": (24, 32), "sub/a.png": (12, 16)}.items():
        pixels = np.full((height, width), 20, np.uint8)
        pixels[:, width * 3 // 4 :] = 230
        Path("images", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(Path("images", name))
    return tmp_path


def test_masks_have_the_size_of_the_files_and_the_palette(here):
    assert main(["predict", "m.ckpt", "images"]) == 0
    for name, (height, width) in {"a.png": (6, 8), "sub/b.png": (24, 32), "sub/a.png": (12, 16)}.items():
        with Image.open(Path("predictions", name)) as mask:
            assert mask.mode == "P"
            assert mask.size == (width, height)
            expected = np.zeros((height, width), np.uint8)
            expected[:, width * 3 // 4 :] = 1
            assert np.array_equal(np.asarray(mask), expected)
            assert mask.convert("RGB").getpixel((width - 1, 0)) == (255, 160, 0)


def test_the_table_holds_masks_and_shares_and_reasons(here):
    Path("images/broken.png").write_bytes(b"no image")
    Image.new("L", (6, 8)).save("images/black.png")
    assert main(["predict", "m.ckpt", "images", "--out=p"]) == 0
    rows = {row["path"]: row for row in read_table(Path("p/predictions.csv"), "predict")}
    shares = {"share_dark": "0.750000", "share_bright": "0.250000", "error": ""}
    assert rows["images/sub/b.bmp"] == {"path": "images/sub/b.bmp", "mask": "sub/b.png", **shares}
    assert rows["images/broken.png"]["error"] == "not an image"
    assert rows["images/broken.png"]["mask"] == ""
    assert rows["images/black.png"]["error"] == "the model's output is NaN or infinite"
    assert not Path("p/black.png").exists()


def test_json_lines_in_the_folder(here):
    assert main(["predict", "m.ckpt", "images/a.png", "--out=p", "--format=jsonl"]) == 0
    values = json.loads(Path("p/predictions.jsonl").read_text())
    assert values == {"path": "images/a.png", "mask": "a.png", "share_dark": 0.75, "share_bright": 0.25}


def test_a_folder_of_earlier_masks_is_replaced_and_one_of_other_files_is_not(here, error_of):
    assert main(["predict", "m.ckpt", "images", "--out=p"]) == 0
    assert main(["predict", "m.ckpt", "images/a.png", "--out=p"]) == 0
    assert sorted(path.name for path in Path("p").iterdir()) == [".leyden", "a.png", "predictions.csv"]
    Path("p/mine.txt").write_text("mine")
    assert "it contains other files (mine.txt)" in error_of("predict", "m.ckpt", "images", "--out=p")
    assert Path("p/a.png").is_file()


@pytest.mark.parametrize("out", ["images", "images/p", "."])
def test_masks_are_never_written_among_the_images(out, here, error_of):
    before = sorted(here.rglob("*"))
    assert "expected an output separate from all inputs" in error_of("predict", "m.ckpt", "images", f"--out={out}")
    assert sorted(here.rglob("*")) == before


def test_a_failure_leaves_no_half_written_folder(here, error_of, monkeypatch):
    monkeypatch.setattr(PixelModel, "__call__", lambda self, images: images.float() * np.nan)
    error_of("predict", "m.ckpt", "images", "--out=p")
    assert not Path("p").exists()


def test_files_whose_masks_would_have_the_same_name_get_different_ones():
    names = ["a.jpg", "a.png", "A.bmp", "x/a.jpg", "a.png", "a.png"]
    files = [InputFile(Path(str(number), name), Path(name)) for number, name in enumerate(names)]
    assert list(name_masks(files).values()) == [
        *("a.png", "a.png.png", "A.bmp.png", "x/a.png", "a.png.2.png", "a.png.3.png")
    ]
