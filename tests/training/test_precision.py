"""Whatever a model was trained in, compiled or not, its checkpoint is an ordinary one, and loads eager."""

from pathlib import Path

import pytest
import torch

from leyden import load
from leyden.cli import main
from leyden.data.packed import read_split
from leyden.runtimes.load import predict_logits

FIT = ["fit", "-c", "configs/train.yaml", "--network.init_args.width=8", "--trainer.max_epochs=3"]


def fit(*args: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Train; give the published weights, and the logits of the loaded model."""
    assert main([*FIT, *args]) == 0
    weights = torch.load("artifacts/train/model.ckpt", weights_only=True)["state_dict"]
    split = read_split(Path("artifacts/prepare"), "val")
    return weights, predict_logits(load("artifacts/train/model.ckpt"), split.images, 64)


def check_compiled(backend: str) -> None:
    from torch._dynamo.utils import counters

    eager, expected = fit("--trainer.precision=32-true")
    counters.clear()
    compiled, found = fit(
        "-c",
        "configs/trainer/compile.yaml",
        f"--model.init_args.execution.compile={backend}",
        "--trainer.precision=32-true",
    )
    assert counters["stats"]["unique_graphs"] >= 1
    assert list(compiled) == list(eager)
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.97 and (found - expected).abs().median() < 0.1


def test_a_compiled_training_is_an_eager_one(workspace):
    check_compiled("aot_eager")


@pytest.mark.slow
def test_a_training_compiled_to_machine_code_is_an_eager_one(workspace):
    check_compiled("inductor")


@pytest.mark.parametrize(
    "args",
    [["-c", "configs/trainer/bf16.yaml"], ["--trainer.precision=bf16-true"], ["-c", "configs/trainer/fp16.yaml"]],
)
def test_weights_of_a_lower_precision_load_in_float32(args, workspace):
    small = (
        ["--trainer.limit_train_batches=3", "--network.init_args.width=4"] if "fp16" in args[-1] else []
    )  # slow on CPUs
    weights, logits = fit(*args, *small)
    assert logits.dtype == torch.float32 and torch.isfinite(logits).all()
    (run,) = Path("runs").iterdir()
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert {value.dtype for key, value in weights.items() if key.endswith("conv1.0.weight")} == {
        torch.bfloat16 if "true" in args[-1] else torch.float32
    }
    if small:
        assert last["MixedPrecision"]["scale"] > 1  # gradients were scaled, also on a CPU
    else:
        labels = torch.from_numpy(read_split(Path("artifacts/prepare"), "val").labels)
        assert (logits.argmax(1) == labels).float().mean() > 0.8


def test_a_precision_without_scaled_gradients_is_refused(workspace, error_of):
    assert "got 16-true, whose small gradients vanish; set 16-mixed" in error_of(*FIT, "--trainer.precision=16-true")
