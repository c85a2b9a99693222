"""A concept that matters to a class is separated from one that does not, and from random images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from leyden.errors import UserError
from leyden.files import write_json
from leyden.files.tables import read_table
from leyden.models.image_model import ImageModel
from leyden.outputs import load_reader
from leyden.stages.explain.batch import PreparedData, open_prepared_data
from leyden.stages.explain.concepts import compare_to_random, read_concepts, write_concepts

SIDE, COUNT = 16, 40


class StripeNetwork(nn.Module):
    """Detects vertical and horizontal stripes; the class depends on vertical stripes only."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 3, padding=1, bias=False)
        edge = torch.tensor([[-1.0, 0, 1]] * 3) / 6
        self.layer.weight = nn.Parameter(torch.stack([edge, -edge, edge.T, -edge.T])[:, None])
        self.activation = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, num_classes, bias=False)
        self.head.weight = nn.Parameter(torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0]]))

    def forward(self, images):
        return self.head(self.pool(self.activation(self.layer(images))).flatten(1))


def draw(generator: np.random.Generator, vertical: bool, horizontal: bool) -> np.ndarray:
    """Draw stripes at random offsets under noise, so that random images differ in more than the concepts."""
    across, down = ((np.arange(SIDE) + generator.integers(0, 4)) // 2 % 2 * 70 for _ in range(2))
    pixels = generator.integers(0, 80, (SIDE, SIDE)) + vertical * across[None] + horizontal * down[:, None]
    return pixels.astype(np.uint8)[..., None]


def describe(module: ImageModel) -> dict[str, Any]:
    counts = {split: {"plain": 1, "striped": 1} for split in ("train", "val", "test")}
    rest = {"counts": counts, "data_hash": "", "files": {}, "stored": "", "bytes": 0}
    return {"labels": module.labels, "input": module.spec["input"]} | rest


@pytest.fixture
def module() -> ImageModel:
    facts = {"channels": 1, "image_size": [SIDE, SIDE], "mean": [0.3], "std": [0.2]}
    return ImageModel({"class_path": f"{__name__}.StripeNetwork"}, ["plain", "striped"], facts).eval()


@pytest.fixture
def prepared(module, tmp_path) -> PreparedData:
    """Images with or without stripes of either direction, independently."""
    generator = np.random.default_rng(0)
    write_json(tmp_path / "prepared/report.json", describe(module))
    for split, count in (("train", 120), ("test", 30)):
        labels = generator.integers(0, 2, count)
        images = np.stack([draw(generator, bool(label), generator.random() < 0.5) for label in labels])
        np.save(tmp_path / f"prepared/{split}.images.npy", images)
        np.save(tmp_path / f"prepared/{split}.targets.npy", labels)
    (tmp_path / "prepared/manifest.csv").write_text("path,split\n")
    return open_prepared_data(tmp_path / "prepared", module, Path("model.ckpt"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two concepts, in colour images."""
    generator = np.random.default_rng(1)
    kinds = {
        "horizontal": lambda: (generator.random() < 0.5, True),
        "vertical": lambda: (True, generator.random() < 0.5),
    }
    for name, kind in kinds.items():
        (tmp_path / "concepts" / name).mkdir(parents=True)
        for number in range(COUNT):
            pixels = draw(generator, *kind())
            Image.fromarray(pixels[..., 0]).convert("RGB").save(tmp_path / f"concepts/{name}/{number}.png")
    return tmp_path / "concepts"


def write(out: Path, module, prepared: PreparedData, concepts, seed: int = 0) -> list[dict[str, str]]:
    write_concepts(out, module, load_reader(module.spec), prepared, concepts, seed)
    return read_table(out / "concepts.csv", "explain")


def test_only_the_relevant_concept_matters_and_only_to_its_class(module, prepared, folder, tmp_path):
    concepts = read_concepts(folder, module)
    assert {name: images.shape for name, images in concepts.items()} == dict.fromkeys(
        ("horizontal", "vertical"), (COUNT, SIDE, SIDE, 1)
    )
    state = torch.get_rng_state()
    for seed in (0, 1):
        rows = write(tmp_path, module, prepared, concepts, seed)
        verdicts = {(row["concept"], row["label"]): row["verdict"] for row in rows}
        assert verdicts.pop(("vertical", "striped")) == "for"
        assert set(verdicts.values()) == {"like random images"}
        row = next(row for row in rows if row["verdict"] == "for")
        assert float(row["sensitivity"]) > float(row["random_high"]) > 0 > float(row["random_low"])
        assert float(row["p_value"]) < 0.05
        assert float(row["score"]) == 1
        assert row["layer"] == "activation"
        assert row["images"] == str(COUNT)
    assert torch.equal(torch.get_rng_state(), state)
    again = write(tmp_path, module, prepared, {"horizontal": concepts["horizontal"]}, 1)
    assert [row["sensitivity"] for row in again] == [row["sensitivity"] for row in rows[:2]]


def test_few_random_concepts_are_false_positives():
    generator = torch.Generator().manual_seed(0)
    results = [
        compare_to_random(float(torch.randn(1, generator=generator)), torch.randn(20, generator=generator), 1)
        for _ in range(1000)
    ]
    num_positives = sum(row["verdict"] != "like random images" for row in results)
    assert 25 <= num_positives <= 75  # 5% of them
    assert compare_to_random(-9.0, torch.randn(20, generator=generator), 10)["verdict"] == "against"
    assert compare_to_random(0.0, torch.zeros(20), 10)["p_value"] == 1  # the network does not depend on this layer


def test_a_concept_needs_readable_images(module, folder, tmp_path, capsys):
    for number in range(36):
        (folder / f"horizontal/{number}.png").write_text("no image")
    with pytest.raises(
        UserError,
        match=r"expected at least 10 readable images of a concept; .*horizontal has 4; add some or remove the folder",
    ):
        read_concepts(folder, module)
    assert capsys.readouterr().out.count(".png left out: ") == 36
    for number in range(6):
        Image.new("LA", (90, 5 + number)).save(folder / f"horizontal/more {number}.png")
    assert read_concepts(folder, module)["horizontal"].shape == (10, SIDE, SIDE, 1)
    with pytest.raises(UserError, match="expected a folder with a sub-folder of images per concept"):
        read_concepts(tmp_path / "absent", module)


def test_without_concepts_a_header_remains(module, prepared, tmp_path, capsys):
    assert write(tmp_path, module, prepared, read_concepts(None, module)) == []
    write_json(tmp_path / "prepared/report.json", describe(module) | {"shards": "s3://bucket/shards"})
    sharded = open_prepared_data(tmp_path / "prepared", module, Path("model.ckpt"))
    assert write(tmp_path, module, sharded, {"stripes": np.zeros((10, SIDE, SIDE, 1), np.uint8)}) == []
    assert "training images, which are in shards" in capsys.readouterr().out
    assert (tmp_path / "concepts.csv").read_text().startswith("concept,label,images,layer,score,sensitivity")
