"""A model in parts, on processes or devices, learns what it learns in one piece."""

import subprocess

import pytest
import torch
from torch import nn

from leyden.errors import UserError
from leyden.models import FastCNN, PatchTransformer, ResNet, TransformerClassifier
from leyden.training.pipeline import spread
from leyden.training.sharding import check_parts, repeated
from tests.training.test_distributed import (
    LEYDEN,
    MODEL,
    TOLERANCE,
    alone,
    curves,
    distance,
    fit,
    marked,
    stop_all,
    wait_for_checkpoint,
    weights,
)
from tests.training.test_interruption import differences, final_state, two_workspaces

__all__ = ["alone", "marked", "two_workspaces"]
CPU = "--trainer.accelerator=cpu"


@pytest.mark.parametrize(("overlay", "batch_size"), [("fsdp", 32), ("tensor_parallel", 64)])
def test_weights_in_parts_train_as_a_whole(alone, workspace, overlay, batch_size):
    fit(workspace, "-c", f"configs/trainer/{overlay}.yaml", CPU, f"--data.batch_size={batch_size}")
    one, two = weights(alone), weights(workspace)
    assert 0 < distance(one, two) < TOLERANCE
    for ours, theirs in zip(curves(workspace), curves(alone), strict=True):
        assert ours["val/accuracy"] == theirs["val/accuracy"]
        assert abs(float(ours["train/loss"]) - float(theirs["train/loss"])) < 1e-4


@pytest.mark.slow
def test_a_killed_sharded_training_ends_bit_identical(two_workspaces):
    killed, whole = two_workspaces
    args = [
        "-c",
        "configs/trainer/fsdp.yaml",
        CPU,
        "--data.batch_size=16",
        "--trainer.max_epochs=3",
        "--resume.every_steps=10",
    ]
    args += ["--model.optimizer.init_args.momentum=0.9"]
    fit(whole, *args)
    process = subprocess.Popen([*LEYDEN, "fit", *MODEL, *args], cwd=killed, text=True, stderr=subprocess.PIPE)
    try:
        wait_for_checkpoint(killed, process)
    finally:
        stop_all()
        process.communicate()
    assert "fit: continues in" in fit(killed, *args)
    assert differences(final_state(killed, averaged=False), final_state(whole, averaged=False)) == []


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-c", "configs/trainer/fsdp.yaml", "--trainer.devices=1"], "expected at least 2 processes"),
        (["-c", "configs/trainer/ddp.yaml", "--trainer.sync_batchnorm=true"], "expected GPUs for sync_batchnorm"),
        (
            ["-c", "configs/trainer/pipeline.yaml", "--trainer.strategy.init_args.devices=[cuda:98,cuda:99]"],
            "expected at least 2 devices",
        ),
        (
            ["-c", "configs/trainer/pipeline.yaml", "--trainer.strategy.init_args.devices=[cpu]"],
            "expected at least 2 devices",
        ),
    ],
)
def test_what_this_machine_cannot_do_is_one_line(workspace, error_of, args, expected):
    assert expected in error_of("fit", "-c", "configs/train.yaml", CPU, *args)


def test_networks_that_cannot_be_split_are_one_line(workspace):
    args = [
        *LEYDEN,
        "fit",
        "-c",
        "configs/train.yaml",
        "-c",
        "configs/trainer/tensor_parallel.yaml",
        CPU,
        "--trainer.max_epochs=1",
    ]
    done = subprocess.run(args, cwd=workspace, text=True, capture_output=True, timeout=240)
    assert (
        done.returncode == 2
        and "expected a network whose blocks have split_columns" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_heads_must_go_round():
    with pytest.raises(UserError, match="expected heads that 3 processes can share; got 4"):
        check_parts(PatchTransformer(1, 10, (8, 8)), 3)
    with pytest.raises(UserError, match="save_memory"):
        check_parts(PatchTransformer(1, 10, (8, 8), heads=1, width=3, save_memory=True), 1)
    with pytest.raises(UserError, match="without `initialize`"):
        check_parts(FastCNN(1, 10, (8, 8)), 1)


def test_blocks_are_found():
    assert len(repeated(PatchTransformer(1, 10, (8, 8), depth=3))) == 3
    assert len(repeated(TransformerClassifier(2, 10, depth=2))) == 2
    assert len(repeated(ResNet(1, 10, (8, 8)))) == 3


def test_a_pipeline_trains_as_one_device_does(alone, workspace):
    overlay = ["-c", "configs/trainer/pipeline.yaml", "--trainer.strategy.init_args.devices=[cpu,cpu]"]
    fit(workspace, *overlay, "--data.batch_size=64")
    assert 0 < distance(weights(alone), weights(workspace)) < TOLERANCE


def test_a_pipeline_spreads_the_weights():
    """Meta tensors stand for the second device: what is there, and what was brought there."""
    network = PatchTransformer(1, 10, (8, 8), depth=4)
    spread(network, [torch.device("cpu"), torch.device("meta")], 2)
    places = [next(block.parameters()).device.type for block in network.blocks]
    assert places == ["cpu", "cpu", "meta", "meta"] and network.head.weight.is_meta and not network.embed.weight.is_meta
    seen = []
    network.blocks[2].register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].device.type, len(inputs[0]))))
    with pytest.raises(NotImplementedError):  # meta tensors cannot come back
        network(torch.zeros(6, 1, 8, 8))
    assert seen == [("meta", 3)] * 2
    with pytest.raises(Exception, match="chain of `blocks`"):
        spread(nn.Linear(1, 1), [torch.device("cpu")] * 2, 2)
