"""Batches of images stored larger than the model takes them, as pixels or as JPEG files, are the same on every path."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from leyden import ImageData
from leyden.cli import main
from leyden.data import datamodule
from leyden.data.augment import Augment
from leyden.data.packed import read_split
from tests.conftest import REPO, SHAPES, draw_shape
from tests.data.test_datamodule import as_tensors, training_batches


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict[str, str]:
    """Store JPEG files of shapes as pixels and as JPEG, with a margin, so that both hold the same images."""
    folder = tmp_path_factory.mktemp("stored")
    generator = np.random.default_rng(0)
    for name in SHAPES:
        (folder / "data" / name).mkdir(parents=True)
        for number in range(50):
            draw_shape(name, int(generator.integers(28, 40)), 22, generator).save(
                folder / "data" / name / f"{number}.jpg", quality=95
            )
    sizes = ["--image_size=[16,24]", "--crop_margin=1.25"]
    for storage in ("pixels", "jpeg"):
        assert (
            main(
                [
                    "prepare",
                    "--data",
                    str(folder / "data"),
                    "--out",
                    str(folder / storage),
                    *sizes,
                    f"--storage={storage}",
                ]
            )
            == 0
        )
    return {storage: str(folder / storage) for storage in ("pixels", "jpeg")}


SHIFT, RESIZED = Augment(0.25, True), Augment(0.25, True, 0.25, resized_crop=(0.2, 1.0))
JITTER = Augment(0.25, True, resized_crop=(0.2, 1.0), colour_jitter=0.3)


@pytest.mark.parametrize("augment", [SHIFT, RESIZED])
@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
def test_fused_batches_of_large_images_are_normalised_plain_batches(stored, storage, augment):
    plain, fused = (training_batches(ImageData(stored[storage], 20, augment, fused=fused)) for fused in ("no", "auto"))
    data = ImageData(stored[storage])
    mean, std = (torch.tensor(data.input[key]).view(3, 1, 1) for key in ("mean", "std"))
    assert len(plain) == len(fused) > 3
    for (images, labels), (normalised, fused_labels) in zip(plain, fused, strict=True):
        assert images.dtype == torch.uint8
        assert normalised.dtype == torch.float32
        assert torch.equal(labels, fused_labels)
        assert images.shape == normalised.shape == (20, 3, 16, 24)
        assert normalised.is_contiguous(memory_format=torch.channels_last)
        assert ((normalised * std + mean) * 255 - images).abs().max() <= 0.51  # plain images are rounded to 8 bits


def test_resized_crops_of_jpegs_are_similar_to_those_of_pixels(stored):
    """The boxes are the same, of the full-size images instead of the stored ones."""
    augment = Augment(0, True, resized_crop=(0.5, 1.0))
    pixels, jpeg = (training_batches(ImageData(stored[name], 20, augment, fused="no")) for name in ("pixels", "jpeg"))
    for (images, labels), (jpeg_images, jpeg_labels) in zip(pixels, jpeg, strict=True):
        difference = (images.int() - jpeg_images.int()).abs().float()
        assert torch.equal(labels, jpeg_labels)
        assert difference.mean() < 10 < 20 < (images.int() - jpeg_images.roll(1, 0).int()).abs().float().mean()


@pytest.mark.parametrize("augment", [SHIFT, RESIZED, JITTER])
@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
def test_batches_are_a_function_of_seed_epoch_and_step(stored, storage, augment):
    def batches(epoch: int, num_workers: int = 0) -> list:
        data = ImageData(stored[storage], 20, augment, num_workers=num_workers, seed=3)
        data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        data.trainer.training = True
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [as_tensors(data, batch) for batch in loader]

    first, again, later = batches(4), batches(4, num_workers=1), batches(5)
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, again, strict=True))
    assert not any(torch.equal(a, c) for (a, _), (c, _) in zip(first, later, strict=True))


@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
def test_two_processes_share_the_batch_of_one(stored, storage, monkeypatch):
    expected = training_batches(ImageData(stored[storage], 20, RESIZED))
    halves = []
    for rank in range(2):
        monkeypatch.setattr(datamodule, "rank_and_world_size", lambda _, rank=rank: (rank, 2))
        halves.append(training_batches(ImageData(stored[storage], 10, RESIZED)))
    for (images, labels), *parts in zip(expected, *halves, strict=True):
        for rank, (own_images, own_labels) in enumerate(parts):
            assert torch.equal(images[rank::2], own_images)
            assert torch.equal(labels[rank::2], own_labels)


@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
def test_resident_large_images_return_the_same_shifts(stored, storage):
    mapped, resident = (
        training_batches(ImageData(stored[storage], 20, SHIFT, resident=option)) for option in ("no", "yes")
    )
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(mapped, resident, strict=True))


def test_validation_uses_the_centre_of_stored_images(stored):
    for name in ("pixels", "jpeg"):
        images, labels, _ = next(iter(ImageData(stored[name], 20).val_dataloader()))
        split = read_split(stored[name], "val")
        assert images.shape[1:] == (3, 16, 24)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), split.images[: len(labels)])
    pixels, jpeg = (read_split(stored[name], "val").images[:].astype(int) for name in ("pixels", "jpeg"))
    assert np.abs(pixels - jpeg).max() <= 2


def test_scores_of_jpegs_match_those_of_pixels(stored, tmp_path, monkeypatch):
    """Train on one, then evaluate, export and explain on both."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(REPO / "configs")
    few = [
        "--trainer.max_epochs=2",
        "--network.init_args.width=8",
        "--trainer.precision=32-true",
        f"--data.init_args.folder={stored['jpeg']}",
    ]
    assert main(["fit", "-c", "configs/train.yaml", *few, "--data.init_args.augment.resized_crop=[0.3, 1.0]"]) == 0
    metrics = []
    for name, folder in stored.items():
        for verb, short in (
            ("evaluate", "--top_k=2"),
            ("export", '--formats={"pt2": ["fp32"]}'),
            ("explain", "--methods=[saliency]"),
        ):
            assert main([verb, "--data", folder, "--out", f"{name}/{verb}", short]) == 0
        metrics.append(json.loads(Path(name, "evaluate/metrics.json").read_text()))
    assert metrics[0]["examples"] == metrics[1]["examples"] > 10
    assert metrics[0]["accuracy"] == pytest.approx(metrics[1]["accuracy"], abs=0.05)
    assert metrics[0]["log_loss"] == pytest.approx(metrics[1]["log_loss"], abs=0.02)
