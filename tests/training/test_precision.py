"""Models trained in any precision, compiled or not, have ordinary checkpoints that load without compilation."""

from pathlib import Path

import pytest
import torch

from leyden import load
from leyden.cli import main
from leyden.data.packed import read_split
from leyden.runtimes.load import predict_logits

FIT = ["fit", "-c", "configs/train.yaml", "--network.init_args.width=8", "--trainer.max_epochs=3"]


def fit(*args: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Train; return the published weights, and the logits of the loaded model on the validation split."""
    assert main([*FIT, *args]) == 0
    weights = torch.load("artifacts/train/model.ckpt", weights_only=True)["state_dict"]
    split = read_split(Path("artifacts/prepare"), "val")
    return weights, predict_logits(load("artifacts/train/model.ckpt"), split.images, 64)


def check_compiled(backend: str) -> None:
    from torch._dynamo.utils import counters

    eager, expected = fit("--trainer.precision=32-true")
    torch._dynamo.reset()  # another test may have compiled the same network
    counters.clear()
    compiled, logits = fit(
        "-c",
        "configs/trainer/compile.yaml",
        f"--model.init_args.execution.compile={backend}",
        "--trainer.precision=32-true",
    )
    assert counters["stats"]["unique_graphs"] >= 1
    assert list(compiled) == list(eager)
    assert (logits.argmax(1) == expected.argmax(1)).float().mean() > 0.97
    assert (logits - expected).abs().median() < 0.1


def test_a_compiled_training_equals_an_eager_one(workspace):
    check_compiled("aot_eager")


@pytest.mark.slow
def test_a_training_compiled_to_machine_code_equals_an_eager_one(workspace):
    check_compiled("inductor")


@pytest.mark.parametrize(
    "args",
    [["-c", "configs/trainer/bf16.yaml"], ["--trainer.precision=bf16-true"], ["-c", "configs/trainer/fp16.yaml"]],
)
def test_weights_of_a_lower_precision_load_in_float32(args, workspace):
    is_fp16, is_true = "fp16" in args[-1], "true" in args[-1]
    # float16 is slow on CPUs.
    weights, logits = fit(
        *args, *(["--trainer.limit_train_batches=3", "--network.init_args.width=4"] if is_fp16 else [])
    )
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    (run,) = Path("runs").iterdir()
    last = torch.load(run / "last.ckpt", weights_only=True)
    dtypes = {value.dtype for key, value in weights.items() if key.endswith("conv1.0.weight")}
    assert dtypes == {torch.bfloat16 if is_true else torch.float32}
    if is_fp16:
        assert last["MixedPrecision"]["scale"] > 1  # gradients are scaled, also on a CPU
    else:
        labels = torch.from_numpy(read_split(Path("artifacts/prepare"), "val").targets)
        assert (logits.argmax(1) == labels).float().mean() > 0.8


def test_float16_without_gradient_scaling_is_refused(workspace, error_of):
    assert "got 16-true, in which small gradients underflow to 0; set 16-mixed" in error_of(
        *FIT, "--trainer.precision=16-true"
    )
