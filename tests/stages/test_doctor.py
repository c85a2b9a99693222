"""`leyden doctor`: a network that fails each check, and the default network, which passes all of them."""

import inspect
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leyden import ImageData, SupervisedModule
from leyden.cli import main
from leyden.models import GRUClassifier
from leyden.stages.doctor import NUM_STEPS, check_step, run_checks
from leyden.stages.doctor.activations import ActivationMonitor
from leyden.stages.doctor.batch_norm import BatchNormMonitor
from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.gradients import GradientMonitor
from leyden.stages.doctor.head import check_head
from leyden.stages.doctor.inplace import check_inplace
from leyden.stages.doctor.memory import check_memory
from leyden.stages.doctor.numerics import FiniteCheck, check_finite
from leyden.stages.doctor.overfit import check_overfit
from leyden.stages.doctor.speed import check_speed
from leyden.stages.doctor.trial import TrialRunner
from leyden.training.cli import LeydenCLI


class Plain(nn.Module):
    """8x8 images to logits with one hidden layer; the other networks are broken variants of it."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.hidden, self.activation, self.head = nn.Linear(64 * in_channels, 32), nn.ReLU(), nn.Linear(32, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.activation(self.hidden(images.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class DeadReLU(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        nn.init.constant_(self.hidden.bias, -1000)


class Exploding(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        nn.init.normal_(self.hidden.weight, std=1e4)


class LogOfZero(Plain):
    def features(self, images: Tensor) -> Tensor:
        return torch.log(super().features(images))  # NaN here


class RootOfZero(Plain):
    def features(self, images: Tensor) -> Tensor:
        return torch.sqrt(0 * super().features(images))  # infinite gradient here


class Masked(Plain):
    """Writes infinities on purpose."""

    def features(self, images: Tensor) -> Tensor:
        scores = super().features(images)
        return scores.masked_fill(torch.arange(32) > 20, -torch.inf).softmax(1) * 32


class UnusedLayer(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.unused = nn.Linear(3, 3)


class InPlace(Plain):
    def features(self, images: Tensor) -> Tensor:
        values = super().features(images).sigmoid()  # needed here
        values += 1  # changed here
        return values


class InPlaceOnLeaf(Plain):
    def forward(self, images: Tensor) -> Tensor:
        self.head.bias += 1  # refused here
        return super().forward(images)


class LeakingGraphs(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.history: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.history.append(super().forward(images))
        return self.history[-1]


class LeakingValues(LeakingGraphs):
    """Keeps its outputs without their graph: little memory, but more each step."""

    def forward(self, images: Tensor) -> Tensor:
        logits = Plain.forward(self, images)
        self.history.append(logits.detach())
        return logits


class ConstantFeatures(Plain):
    def features(self, images: Tensor) -> Tensor:
        return 0 * super().features(images).detach()


class WithBatchNorm(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.norm = nn.BatchNorm1d(32)

    def features(self, images: Tensor) -> Tensor:
        return self.norm(super().features(images))


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return 2 * values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad  # wrong: should be 2 * grad


class WrongLoss(SupervisedModule):
    def _loss(self, logits: Any, targets: Tensor) -> Tensor:
        return super()._loss(Doubling.apply(logits), targets)


class SlowData(ImageData):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        time.sleep(0.2)
        return super().on_after_batch_transfer(batch, dataloader_idx)


class WrongInputs(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[:, :0])  # no layer runs


class WrongShapes(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(images)  # shapes do not fit


def path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def make_runner(network: type | None = None, *args: str) -> TrialRunner:
    """Set up trials of a network on the digits."""
    options = ["-c", "configs/train.yaml", "--trainer.precision=32-true"]
    options += [f"--network={path_of(network)}"] if network else []
    return TrialRunner(LeydenCLI.parse("doctor", [*options, *args]))


def line_of(network: type, comment: str) -> str:
    """Return the line of a class in this file that has a comment, as `file:line`."""
    lines, start = inspect.getsourcelines(network)
    return f"{Path(__file__).name}:{start + next(index for index, line in enumerate(lines) if comment in line)}"


def run_with(runner: TrialRunner, callback: Any) -> Any:
    runner.run(NUM_STEPS, [callback])
    return callback


def verdicts(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.verdict for name, finding in findings.items()}


def test_the_default_network_passes_and_no_file_is_written(in_trained, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert main(["doctor", "--network.init_args.width=8"]) == 0
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if line.startswith("doctor: ")] == [
        "doctor: runs 8 training steps",
        "doctor: trains on one batch until it is learned",
        "doctor: compares the loss's gradient with finite differences",
        "doctor: looks for memory that grows from step to step",
        "doctor: times the input pipeline",
    ]
    rows = printed.out.splitlines()[1:]
    assert sum(" ok " in row for row in rows) >= 11
    assert not any(" fail " in row for row in rows)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_failure_is_exit_code_1_with_advice(in_trained, capsys):
    with pytest.raises(SystemExit) as done:
        main(["doctor", f"--network={path_of(UnusedLayer)}"])
    assert done.value.code == 1
    printed = capsys.readouterr()
    assert "model.network.unused" in printed.out
    assert "requires_grad" in printed.out
    assert "1 of 11 checks failed: parameters learn" in printed.err


def test_a_sequence_network_passes(in_sequences):
    args = ("-c", "configs/experiment/sequences.yaml", "--data.init_args.batch_size=16")
    results = verdicts(run_checks(make_runner(GRUClassifier, *args)))
    results.pop("input pipeline")  # depends on the load of the machine
    assert len(results) == 10
    assert set(results.values()) == {"ok"}, results


def test_a_network_on_images_that_are_not_fused_passes(in_trained):
    results = verdicts(
        run_checks(make_runner(Plain, "--data.init_args.fused=no", "--model.init_args.mixing.mixup_alpha=0.2"))
    )
    results.pop("input pipeline")
    assert len(results) == 10
    assert set(results.values()) == {"ok"}, results


@pytest.mark.parametrize(
    ("network", "expected"), [(DeadReLU, "dead: every unit of model.network.activation"), (Exploding, "exploding: ")]
)
def test_activations(network, expected, in_trained):
    finding = run_with(make_runner(network), ActivationMonitor()).check()
    assert finding.verdict == "fail"
    assert expected in finding.observation


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (DeadReLU, "zero in each of 8 steps at model.network.hidden"),
        (Exploding, "exploding: norm"),
        (ConstantFeatures, "1 layers"),
    ],
)
def test_gradients(network, expected, in_trained):
    monitor = run_with(make_runner(network), GradientMonitor())
    assert expected in monitor.check_norms().observation
    assert monitor.check_norms().verdict == ("ok" if network is ConstantFeatures else "fail")
    assert monitor.check_missing().verdict == ("fail" if network is ConstantFeatures else "ok")


@pytest.mark.parametrize(
    ("network", "operator", "line"),
    [(LogOfZero, "log at", "NaN here"), (RootOfZero, "in SqrtBackward0, the backward of", "infinite gradient here")],
)
def test_nan_is_traced_to_its_operator_and_line(network, operator, line, in_trained):
    runner = make_runner(network)
    finding = check_finite(runner, run_with(runner, FiniteCheck()))
    assert finding.verdict == "fail"
    assert operator in finding.observation
    assert line_of(network, line) in finding.observation


def test_infinities_of_a_mask_are_allowed(in_trained):
    runner = make_runner(Masked)
    assert check_finite(runner, run_with(runner, FiniteCheck())).verdict == "ok"


def test_nan_in_the_data_is_reported_as_such(in_trained, monkeypatch):
    transfer = ImageData.on_after_batch_transfer
    monkeypatch.setattr(
        ImageData, "on_after_batch_transfer", lambda *args: (transfer(*args)[0] * torch.nan, transfer(*args)[1])
    )
    runner = make_runner(Plain, "--data.init_args.fused=no")
    assert check_finite(runner, run_with(runner, FiniteCheck())).observation == "the batch itself in step 1"


def test_an_in_place_operation_is_traced_to_both_lines(in_trained):
    runner = make_runner(InPlace)
    finding = check_inplace(runner, runner.run(NUM_STEPS), NUM_STEPS)
    assert finding.verdict == "fail"
    assert "[64, 32]" in finding.observation
    changed, needed = finding.observation.split(" changes a tensor ")
    assert changed.endswith(line_of(InPlace, "changed here"))
    assert line_of(InPlace, "needed here") in needed


def test_an_in_place_operation_that_forward_refuses(in_trained):
    runner = make_runner(InPlaceOnLeaf)
    finding = check_inplace(runner, runner.run(NUM_STEPS), NUM_STEPS)
    assert finding.verdict == "fail"
    assert line_of(InPlaceOnLeaf, "refused here") in finding.observation


def test_memory_growth_by_graphs_and_by_values(in_trained):
    leak = check_memory(make_runner(LeakingGraphs))
    assert leak.verdict == "fail"
    assert "loss.detach()" in leak.advice
    small = check_memory(make_runner(LeakingValues))
    assert small.verdict == "warn", small


def test_slow_data_is_a_warning(in_trained):
    finding = check_speed(make_runner(Plain, f"--data={path_of(SlowData)}"))
    assert finding.verdict == "warn"
    assert "slower than the model" in finding.observation


@pytest.mark.parametrize("network", [WithBatchNorm, None])
def test_batch_norm_of_one_example(network, in_trained):
    finding = run_with(make_runner(network, "--data.init_args.batch_size=1"), BatchNormMonitor()).check()
    assert finding.verdict == "fail"
    assert "batches of 1 example" in finding.observation


def test_a_network_with_constant_features_does_not_learn_a_batch(in_trained):
    finding = check_overfit(make_runner(ConstantFeatures))
    assert finding.verdict == "fail"
    assert "does not learn" in finding.observation


def test_a_wrong_backward_in_the_loss(in_trained):
    finding = check_head(make_runner(Plain, f"--model={path_of(WrongLoss)}"))
    assert finding.verdict == "fail"
    assert "after model.network.head: numerical" in finding.observation, finding.observation


def test_an_exception_in_a_step_is_reported_with_its_line(in_trained):
    runner = make_runner(WrongShapes)
    finding = check_step(runner.run(NUM_STEPS))
    assert finding.verdict == "fail"
    assert line_of(WrongShapes, "shapes do not fit") in finding.observation
    assert verdicts(run_checks(runner))["a step runs"] == "fail"


def test_no_activations_are_judged_if_no_layer_has_run(in_trained):
    results = verdicts(run_checks(make_runner(WrongInputs)))
    assert (results["a step runs"], results["activations"]) == ("fail", "skip")
