"""Batches of images that are stored larger than the model takes them, as pixels or as JPEG files: the same, whatever the path."""

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
    """The shapes, stored as pixels and as JPEG files, with a margin; all are JPEGs, so that both hold the same."""
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


SHIFT, ZOOM = Augment(0.25, True), Augment(0.25, True, 0.25, resized_crop=(0.2, 1.0))
JITTER = Augment(0.25, True, resized_crop=(0.2, 1.0), colour_jitter=0.3)


@pytest.mark.parametrize("augment", [SHIFT, ZOOM])
@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
def test_fused_batches_of_large_images_are_the_plain_ones_normalised(stored, storage, augment):
    plain, fused = (training_batches(ImageData(stored[storage], 20, augment, fused=fused)) for fused in ("no", "auto"))
    data = ImageData(stored[storage])
    mean, std = (torch.tensor(data.input[key]).view(3, 1, 1) for key in ("mean", "std"))
    assert len(plain) == len(fused) > 3
    for (images, labels), (normalised, same) in zip(plain, fused, strict=True):
        assert images.dtype == torch.uint8 and normalised.dtype == torch.float32 and torch.equal(labels, same)
        assert images.shape == normalised.shape == (20, 3, 16, 24) and normalised.is_contiguous(
            memory_format=torch.channels_last
        )
        assert ((normalised * std + mean) * 255 - images).abs().max() <= 0.51  # the plain ones are rounded to 8 bits


def test_resized_crops_of_jpegs_are_those_of_pixels(stored):
    """The same boxes, of the file's own pixels instead of those stored: nearly the same pictures."""
    augment = Augment(0, True, resized_crop=(0.5, 1.0))
    pixels, jpeg = (training_batches(ImageData(stored[name], 20, augment, fused="no")) for name in ("pixels", "jpeg"))
    for (images, labels), (others, same) in zip(pixels, jpeg, strict=True):
        difference = (images.int() - others.int()).abs().float()
        assert (
            torch.equal(labels, same)
            and difference.mean() < 10 < 20 < (images.int() - others.roll(1, 0).int()).abs().float().mean()
        )


@pytest.mark.parametrize("augment", [SHIFT, ZOOM, JITTER])
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
    whole = training_batches(ImageData(stored[storage], 20, ZOOM))
    halves = []
    for rank in range(2):
        monkeypatch.setattr(datamodule, "rank_and_world_size", lambda _, rank=rank: (rank, 2))
        halves.append(training_batches(ImageData(stored[storage], 10, ZOOM)))
    for (images, labels), *parts in zip(whole, *halves, strict=True):
        for rank, (some, own) in enumerate(parts):
            assert torch.equal(images[rank::2], some) and torch.equal(labels[rank::2], own)


@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
def test_resident_large_images_give_the_same_shifts(stored, storage):
    read, kept = (
        training_batches(ImageData(stored[storage], 20, SHIFT, resident=resident)) for resident in ("no", "yes")
    )
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(read, kept, strict=True))


def test_validation_takes_the_centre(stored):
    for name in ("pixels", "jpeg"):
        images, labels, _ = next(iter(ImageData(stored[name], 20).val_dataloader()))
        split = read_split(stored[name], "val")
        assert images.shape[1:] == (3, 16, 24) and np.array_equal(
            images.permute(0, 2, 3, 1).numpy(), split.images[: len(labels)]
        )
    pixels, jpeg = (read_split(stored[name], "val").images[:].astype(int) for name in ("pixels", "jpeg"))
    assert np.abs(pixels - jpeg).max() <= 2


def test_scores_of_jpegs_are_those_of_pixels(stored, tmp_path, monkeypatch):
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
    found = []
    for name, folder in stored.items():
        for verb, short in (
            ("evaluate", "--top_k=2"),
            ("export", '--formats={"pt2": ["fp32"]}'),
            ("explain", "--methods=[saliency]"),
        ):
            assert main([verb, "--data", folder, "--out", f"{name}/{verb}", short]) == 0
        found.append(json.loads(Path(name, "evaluate/metrics.json").read_text()))
    assert found[0]["examples"] == found[1]["examples"] > 10
    assert found[0]["accuracy"] == pytest.approx(found[1]["accuracy"], abs=0.05)
    assert found[0]["log_loss"] == pytest.approx(found[1]["log_loss"], abs=0.02)
