"""A checkpoint is complete or absent, and can be loaded as data alone."""

from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.data import AttributeDict

from leyden.errors import UserError
from leyden.training.checkpoint_io import AtomicCheckpointIO


def test_saved_hyper_parameters_are_plain(tmp_path):
    values = AttributeDict(size=3, nested=AttributeDict(rates=(0.1, 0.2)), network=torch.nn.Identity())
    checkpoint = {
        "state_dict": {"weight": torch.ones(2)},
        "hyper_parameters": values,
        "datamodule_hyper_parameters": {"path": Path("data"), "count": 4},
        "hparams_type": AttributeDict,
        "datamodule_hparams_type": AttributeDict,
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved.pop("state_dict")["weight"].tolist() == [1, 1]
    assert saved == {
        "hyper_parameters": {"size": 3, "nested": {"rates": [0.1, 0.2]}},
        "datamodule_hyper_parameters": {"count": 4},
    }


def test_objects_are_refused_and_the_earlier_checkpoint_stays(tmp_path):
    path, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint({"epoch": 1}, path)
    with pytest.raises(UserError, match=r"expected plain values and tensors in a checkpoint; got .*Identity"):
        writer.save_checkpoint({"epoch": 2, "module": torch.nn.Identity()}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]
