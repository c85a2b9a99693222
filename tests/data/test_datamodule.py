"""Batches of the packed pixels are the same on every path."""

from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

import leyden
from leyden import ImageData, UserError
from leyden.data.augment import Augment
from leyden.data.fused import FusedImages
from leyden.data.packed import read_split
from leyden.models.image_model import Preprocess


def training_batches(data: ImageData) -> list:
    """Return the batches of an epoch as the training step receives them."""
    data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    data.trainer.training = True
    return [as_tensors(data, batch) for batch in data.train_dataloader()]


def as_tensors(data: ImageData, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of a batch; fused images are normalised like the model does."""
    images, labels = data.on_after_batch_transfer(batch, 0)
    if isinstance(images, FusedImages):
        preprocess = Preprocess(data.input, expand=False)
        images = images.normalize(*preprocess.scale_and_shift(), torch.float32)
    return images, labels


def test_batches_hold_the_packed_pixels(in_trained):
    data = ImageData(batch_size=32)
    split = read_split("artifacts/prepare", "val")
    images, labels, _ = next(iter(data.val_dataloader()))
    assert images.dtype == torch.uint8
    assert images.shape == (128, 1, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), split.images[:128])
    assert np.array_equal(labels.numpy(), split.targets[:128])


def test_workers_return_the_same_batches(in_trained):
    without, with_workers = (ImageData(batch_size=64, num_workers=n).train_dataloader() for n in (0, 2))
    for (a, b, seed), (c, d, other) in zip(without, with_workers, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
        assert seed == other


def test_resident_images_return_the_same_batches(in_trained):
    mapped, resident = (
        training_batches(ImageData(batch_size=100, resident=option, fused="no")) for option in ("no", "yes")
    )
    assert len(mapped) == 11
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(mapped, resident, strict=True))


@pytest.mark.parametrize("augment", [Augment(0.125, True), Augment(0, False, 0.5)])
def test_fused_batches_are_normalised_plain_batches(in_trained, augment):
    plain, fused = (
        training_batches(ImageData(batch_size=100, augment=augment, fused=fused)) for fused in ("no", "yes")
    )
    model = leyden.load("artifacts/train/model.ckpt")
    for (images, labels), (normalised, fused_labels) in zip(plain, fused, strict=True):
        assert torch.equal(labels, fused_labels)
        assert normalised.dtype == torch.float32
        # The mean colour of a cutout box is exact on the fused path, and rounded to 8 bits on the plain one.
        assert (model.preprocess(images) - normalised).abs().max() < (
            1e-5 if not augment.cutout_fraction else 0.5 / 255 / 0.37
        )


def test_fused_and_resident_batches_are_the_same(in_trained):
    mapped, resident = (
        training_batches(ImageData(batch_size=100, resident=option, fused="yes")) for option in ("no", "yes")
    )
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(mapped, resident, strict=True))


def test_only_training_is_augmented(in_trained):
    data = ImageData(batch_size=100, fused="no")
    images, labels, seed = next(iter(data.train_dataloader()))
    assert torch.equal(data.on_after_batch_transfer((images, labels, seed), 0)[0], images)
    assert not torch.equal(training_batches(data)[0][0], images)


def test_class_counts_are_of_training_examples(in_trained):
    assert ImageData().class_counts == np.bincount(read_split("artifacts/prepare", "train").targets).tolist()


def test_fusing_unsupported_augmentation_is_rejected(in_trained):
    with pytest.raises(UserError, match=r"only crop, resized crop, flip and cutout with data\.fused: yes"):
        ImageData(augment=Augment(colour_jitter=0.1), fused="yes")


def test_missing_data_and_bad_batch_size_are_rejected(tmp_path, in_trained):
    with pytest.raises(UserError, match="run `leyden prepare` first"):
        ImageData(str(tmp_path))
    with pytest.raises(UserError, match=r"data.batch_size must lie in \[1, 1048576\]; got 0"):
        ImageData(batch_size=0)
