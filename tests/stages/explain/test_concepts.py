"""A concept that decides is told from one that does not, and both from random images."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from leyden.errors import UserError
from leyden.files import write_json
from leyden.models.image_model import ImageModel
from leyden.stages.explain.concepts import compare, read_concepts, write_concepts

SIDE, COUNT = 16, 40


class StripeNetwork(nn.Module):
    """Sees upright and lying stripes; the class is upright stripes alone."""

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


def draw(generator: np.random.Generator, upright: bool, lying: bool) -> np.ndarray:
    """Draw stripes anywhere, under noise: random images are to differ in more than what the concepts are of."""
    across, down = ((np.arange(SIDE) + generator.integers(0, 4)) // 2 % 2 * 70 for _ in range(2))
    pixels = generator.integers(0, 80, (SIDE, SIDE)) + upright * across[None] + lying * down[:, None]
    return pixels.astype(np.uint8)[..., None]


@pytest.fixture
def module() -> ImageModel:
    facts = {"channels": 1, "image_size": [SIDE, SIDE], "mean": [0.3], "std": [0.2]}
    return ImageModel({"class_path": f"{__name__}.StripeNetwork"}, ["plain", "striped"], facts).eval()


@pytest.fixture
def prepared(module, tmp_path) -> Path:
    """Images that have stripes of either direction or not, whatever the other is."""
    generator = np.random.default_rng(0)
    write_json(tmp_path / "prepared/report.json", {"labels": module.labels, "input": module.spec["input"]})
    for split, count in (("train", 120), ("test", 30)):
        labels = generator.integers(0, 2, count)
        images = np.stack([draw(generator, bool(label), generator.random() < 0.5) for label in labels])
        np.save(tmp_path / f"prepared/{split}.images.npy", images)
        np.save(tmp_path / f"prepared/{split}.labels.npy", labels)
    return tmp_path / "prepared"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two concepts, in colour images."""
    generator = np.random.default_rng(1)
    kinds = {"lying": lambda: (generator.random() < 0.5, True), "upright": lambda: (True, generator.random() < 0.5)}
    for name, kind in kinds.items():
        (tmp_path / "concepts" / name).mkdir(parents=True)
        for number in range(COUNT):
            pixels = draw(generator, *kind())
            Image.fromarray(pixels[..., 0]).convert("RGB").save(tmp_path / f"concepts/{name}/{number}.png")
    return tmp_path / "concepts"


def write(out: Path, module, prepared: Path, concepts, seed: int = 0) -> list[dict[str, str]]:
    write_concepts(out, module, prepared, concepts, seed)
    with open(out / "concepts.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_only_the_deciding_concept_matters_and_only_to_its_class(module, prepared, folder, tmp_path):
    concepts = read_concepts(folder, module)
    assert {name: images.shape for name, images in concepts.items()} == dict.fromkeys(
        ("lying", "upright"), (COUNT, SIDE, SIDE, 1)
    )
    state = torch.get_rng_state()
    for seed in (0, 1):
        rows = write(tmp_path, module, prepared, concepts, seed)
        verdicts = {(row["concept"], row["label"]): row["verdict"] for row in rows}
        assert verdicts.pop(("upright", "striped")) == "for" and set(verdicts.values()) == {"like random images"}
        found = next(row for row in rows if row["verdict"] == "for")
        assert (
            float(found["sensitivity"]) > float(found["random_high"]) > 0 > float(found["random_low"])
            and float(found["p_value"]) < 0.05
        )
        assert float(found["score"]) == 1 and found["layer"] == "activation" and found["images"] == str(COUNT)
    assert torch.equal(torch.get_rng_state(), state)
    again = write(tmp_path, module, prepared, {"lying": concepts["lying"]}, 1)
    assert [row["sensitivity"] for row in again] == [row["sensitivity"] for row in rows[:2]]


def test_a_random_concept_is_seldom_said_to_matter():
    generator = torch.Generator().manual_seed(0)
    tried = [
        compare(float(torch.randn(1, generator=generator)), torch.randn(20, generator=generator), 1)
        for _ in range(1000)
    ]
    wrong = sum(row["verdict"] != "like random images" for row in tried)
    assert 25 <= wrong <= 75  # 5% of them
    assert compare(-9.0, torch.randn(20, generator=generator), 10)["verdict"] == "against"
    assert compare(0.0, torch.zeros(20), 10)["p_value"] == 1  # a network that this layer does not matter to


def test_a_concept_needs_readable_images(module, folder, tmp_path, capsys):
    for number in range(36):
        (folder / f"lying/{number}.png").write_text("no image")
    with pytest.raises(
        UserError,
        match=r"expected at least 10 readable images of a concept; .*lying has 4; add some or remove the folder",
    ):
        read_concepts(folder, module)
    assert capsys.readouterr().out.count("explain: left out") == 36
    for number in range(6):
        Image.new("LA", (90, 5 + number)).save(folder / f"lying/another {number}.png")
    assert read_concepts(folder, module)["lying"].shape == (10, SIDE, SIDE, 1)
    with pytest.raises(UserError, match="expected a folder with a sub-folder of images per concept"):
        read_concepts(tmp_path / "absent", module)


def test_without_concepts_a_header_remains(module, prepared, tmp_path, capsys):
    assert write(tmp_path, module, prepared, read_concepts(None, module)) == []
    write_json(prepared / "report.json", {"shards": "s3://bucket/shards"})
    assert write(tmp_path, module, prepared, {"stripes": np.zeros((10, SIDE, SIDE, 1), np.uint8)}) == []
    assert "training images; these are in shards" in capsys.readouterr().out
    assert (tmp_path / "concepts.csv").read_text().startswith("concept,label,images,layer,score,sensitivity")
