"""A model that is divided over processes or devices trains as on a single device."""

import subprocess

import pytest
import torch
from torch import nn

from leyden.errors import UserError
from leyden.models import FastCNN, PatchTransformer, ResNet, TransformerClassifier
from leyden.training.pipeline import partition_network
from leyden.training.sharding import check_shardable, find_blocks
from tests.training.test_distributed import (
    LEYDEN,
    MODEL,
    TOLERANCE,
    alone,
    curves,
    distance,
    fit,
    kill_all,
    process_marker,
    wait_for_checkpoint,
    weights,
)
from tests.training.test_interruption import differences, final_state, two_workspaces

__all__ = ["alone", "process_marker", "two_workspaces"]
CPU = "--trainer.accelerator=cpu"


@pytest.mark.parametrize(("overlay", "batch_size"), [("fsdp", 32), ("tensor_parallel", 64)])
def test_divided_weights_train_as_whole_ones_do(alone, workspace, overlay, batch_size):
    fit(workspace, "-c", f"configs/trainer/{overlay}.yaml", CPU, f"--data.batch_size={batch_size}")
    assert 0 < distance(weights(alone), weights(workspace)) < TOLERANCE
    for row, expected in zip(curves(workspace), curves(alone), strict=True):
        assert row["val/accuracy"] == expected["val/accuracy"]
        assert abs(float(row["train/loss"]) - float(expected["train/loss"])) < 1e-4


@pytest.mark.slow
def test_a_killed_sharded_training_ends_bit_identical(two_workspaces):
    killed, whole = two_workspaces
    args = ["-c", "configs/trainer/fsdp.yaml", CPU, "--data.batch_size=16", "--trainer.max_epochs=3"]
    args += ["--resume.every_steps=10", "--model.optimizer.init_args.momentum=0.9"]
    fit(whole, *args)
    process = subprocess.Popen([*LEYDEN, "fit", *MODEL, *args], cwd=killed, text=True, stderr=subprocess.PIPE)
    try:
        wait_for_checkpoint(killed, process)
    finally:
        kill_all()
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
def test_what_this_machine_does_not_support_is_a_one_line_error(workspace, error_of, args, expected):
    assert expected in error_of("fit", "-c", "configs/train.yaml", CPU, *args)


def test_a_network_that_cannot_be_split_is_a_one_line_error(workspace):
    configs = ["-c", "configs/train.yaml", "-c", "configs/trainer/tensor_parallel.yaml"]
    args = ["fit", *configs, CPU, "--trainer.max_epochs=1"]
    done = subprocess.run([*LEYDEN, *args], cwd=workspace, text=True, capture_output=True, timeout=240)
    assert done.returncode == 2
    assert "expected a network whose blocks have split_columns" in done.stderr
    assert "Traceback" not in done.stderr


def test_networks_that_cannot_be_divided_are_refused():
    with pytest.raises(UserError, match="expected a multiple of 3 heads, the number of processes; got 4"):
        check_shardable(PatchTransformer(1, 10, (8, 8)), 3)
    with pytest.raises(UserError, match="save_memory"):
        check_shardable(PatchTransformer(1, 10, (8, 8), heads=1, width=3, save_memory=True), 1)
    with pytest.raises(UserError, match="without `initialize`"):
        check_shardable(FastCNN(1, 10, (8, 8)), 1)


def test_repeated_blocks_are_found():
    assert len(find_blocks(PatchTransformer(1, 10, (8, 8), depth=3))) == 3
    assert len(find_blocks(TransformerClassifier(2, 10, depth=2))) == 2
    assert len(find_blocks(ResNet(1, 10, (8, 8)))) == 3


def test_a_pipeline_trains_as_one_device_does(alone, workspace):
    overlay = ["-c", "configs/trainer/pipeline.yaml", "--trainer.strategy.init_args.devices=[cpu,cpu]"]
    fit(workspace, *overlay, "--data.batch_size=64")
    assert 0 < distance(weights(alone), weights(workspace)) < TOLERANCE


def test_a_pipeline_divides_weights_and_moves_micro_batches():
    """The meta device stands for the second one."""
    network = PatchTransformer(1, 10, (8, 8), depth=4)
    partition_network(network, [torch.device("cpu"), torch.device("meta")], 2)
    devices = [next(block.parameters()).device.type for block in network.blocks]
    assert devices == ["cpu", "cpu", "meta", "meta"]
    assert network.head.weight.is_meta
    assert not network.embed.weight.is_meta
    inputs = []
    network.blocks[2].register_forward_pre_hook(lambda _, args: inputs.append((args[0].device.type, len(args[0]))))
    with pytest.raises(NotImplementedError):  # meta tensors cannot be copied to the CPU
        network(torch.zeros(6, 1, 8, 8))
    assert inputs == [("meta", 3)] * 2


def test_a_pipeline_of_a_network_without_blocks_is_refused():
    with pytest.raises(UserError, match="chain of `blocks`"):
        partition_network(nn.Linear(1, 1), [torch.device("cpu")] * 2, 2)
