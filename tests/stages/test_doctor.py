"""`leyden doctor`: a network broken on purpose for every check, and the default, which is well."""

import inspect
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leyden import Classifier, ImageData
from leyden.cli import main
from leyden.models import GRUClassifier
from leyden.stages.doctor import STEPS, check_step, examine
from leyden.stages.doctor.activations import Activations
from leyden.stages.doctor.batch_norm import BatchNorms
from leyden.stages.doctor.bench import Bench
from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.gradients import Gradients
from leyden.stages.doctor.head import check_head
from leyden.stages.doctor.inplace import check_inplace
from leyden.stages.doctor.memory import check_memory
from leyden.stages.doctor.numerics import FiniteCheck, check_finite
from leyden.stages.doctor.overfit import check_overfit
from leyden.stages.doctor.speed import check_speed
from leyden.training.cli import LeydenCLI


class Plain(nn.Module):
    """8x8 images to logits over one hidden layer: the patient that the others are sick variants of."""

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
        return torch.sqrt(0 * super().features(images))  # infinite slope here


class Masked(Plain):
    """Infinities put there on purpose."""

    def features(self, images: Tensor) -> Tensor:
        scores = super().features(images)
        return scores.masked_fill(torch.arange(32) > 20, -torch.inf).softmax(1) * 32


class Unused(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.forgotten = nn.Linear(3, 3)


class InPlace(Plain):
    def features(self, images: Tensor) -> Tensor:
        values = super().features(images).sigmoid()  # needed here
        values += 1  # changed here
        return values


class InPlaceOnLeaf(Plain):
    def forward(self, images: Tensor) -> Tensor:
        self.head.bias += 1  # refused here
        return super().forward(images)


class Hoarder(Plain):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.history: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.history.append(super().forward(images))
        return self.history[-1]


class Frugal(Hoarder):
    """Keeps the values without their graph: little, but more each step."""

    def forward(self, images: Tensor) -> Tensor:
        logits = Plain.forward(self, images)
        self.history.append(logits.detach())
        return logits


class Blind(Plain):
    def features(self, images: Tensor) -> Tensor:
        return 0 * super().features(images).detach()


class Normalised(Plain):
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
        return grad  # should be doubled


class WrongLoss(Classifier):
    def _loss(self, logits: Any, targets: Tensor) -> Tensor:
        return super()._loss(Doubling.apply(logits), targets)


class SlowData(ImageData):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        time.sleep(0.2)
        return super().on_after_batch_transfer(batch, dataloader_idx)


class Broken(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(images)  # shapes do not fit


def path_of(found: type) -> str:
    return f"{found.__module__}.{found.__qualname__}"


def bench_of(network: type | None = None, *args: str) -> Bench:
    """Set up a patient on the digits."""
    chosen = [f"--network={path_of(network)}"] if network else []
    return Bench(LeydenCLI.parse("doctor", ["-c", "configs/train.yaml", "--trainer.precision=32-true", *chosen, *args]))


def line_of(network: type, comment: str) -> str:
    """Name the line of this file that bears a comment, as `file:line`."""
    lines, start = inspect.getsourcelines(network)
    return f"{Path(__file__).name}:{start + next(number for number, line in enumerate(lines) if comment in line)}"


def watched(bench: Bench, watcher: Any) -> Any:
    bench.run(STEPS, [watcher])
    return watcher


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in findings}


def test_the_default_is_well_and_nothing_is_left_behind(in_trained, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert main(["doctor", "--network.init_args.width=8"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) >= 11 and sum(" ok " in row for row in rows) >= 11 and not any(" fail " in row for row in rows)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_failure_is_exit_code_1_with_advice(in_trained, capsys):
    with pytest.raises(SystemExit) as done:
        main(["doctor", f"--network={path_of(Unused)}"])
    assert done.value.code == 1
    said = capsys.readouterr()
    assert (
        "model.network.forgotten" in said.out
        and "requires_grad" in said.out
        and "1 of 11 checks failed: parameters learn" in said.err
    )


def test_sequences_are_well(in_sequences):
    args = ("-c", "configs/experiment/sequences.yaml", "--data.init_args.batch_size=16")
    found = verdicts(examine(bench_of(GRUClassifier, *args)))
    found.pop("input pipeline")  # a busy machine decides that
    assert len(found) == 10 and set(found.values()) == {"ok"}, found


def test_raw_images_are_well(in_trained):
    found = verdicts(examine(bench_of(Plain, "--data.init_args.fused=no", "--model.init_args.mixing.mixup_alpha=0.2")))
    found.pop("input pipeline")
    assert len(found) == 10 and set(found.values()) == {"ok"}, found


@pytest.mark.parametrize(
    ("network", "expected"), [(DeadReLU, "dead: every unit of model.network.activation"), (Exploding, "exploding: ")]
)
def test_activations(network, expected, in_trained):
    finding = watched(bench_of(network), Activations()).finding()
    assert finding.verdict == "fail" and expected in finding.seen


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (DeadReLU, "zero in each of 8 steps at model.network.hidden"),
        (Exploding, "exploding: norm"),
        (Blind, "1 layers"),
    ],
)
def test_gradients(network, expected, in_trained):
    sizes, presence = watched(bench_of(network), Gradients()).findings()
    assert expected in sizes.seen and sizes.verdict == ("ok" if network is Blind else "fail")
    assert presence.verdict == ("fail" if network is Blind else "ok")


@pytest.mark.parametrize(
    ("network", "operator", "line"),
    [(LogOfZero, "log at", "NaN here"), (RootOfZero, "in SqrtBackward0, the backward of", "infinite slope here")],
)
def test_nan_is_traced_to_its_operator_and_line(network, operator, line, in_trained):
    bench = bench_of(network)
    finding = check_finite(bench, watched(bench, FiniteCheck()))
    assert finding.verdict == "fail" and operator in finding.seen and line_of(network, line) in finding.seen, finding


def test_infinities_of_a_mask_are_no_trouble(in_trained):
    bench = bench_of(Masked)
    assert check_finite(bench, watched(bench, FiniteCheck())).verdict == "ok"


def test_nan_in_the_data_is_told_apart(in_trained, monkeypatch):
    transfer = ImageData.on_after_batch_transfer
    monkeypatch.setattr(
        ImageData, "on_after_batch_transfer", lambda *args: (transfer(*args)[0] * torch.nan, transfer(*args)[1])
    )
    bench = bench_of(Plain, "--data.init_args.fused=no")
    assert check_finite(bench, watched(bench, FiniteCheck())).seen == "the batch itself in step 1"


def test_in_place_change_is_traced_to_both_lines(in_trained):
    bench = bench_of(InPlace)
    finding = check_inplace(bench, bench.run(STEPS), STEPS)
    assert finding.verdict == "fail" and "[64, 32]" in finding.seen
    changed, needed = finding.seen.split(" changes a tensor ")
    assert changed.endswith(line_of(InPlace, "changed here")) and line_of(InPlace, "needed here") in needed


def test_in_place_change_that_forward_refuses(in_trained):
    bench = bench_of(InPlaceOnLeaf)
    finding = check_inplace(bench, bench.run(STEPS), STEPS)
    assert finding.verdict == "fail" and line_of(InPlaceOnLeaf, "refused here") in finding.seen


def test_memory_that_grows(in_trained):
    leak = check_memory(bench_of(Hoarder))
    assert leak.verdict == "fail" and "loss.detach()" in leak.advice
    few = check_memory(bench_of(Frugal))
    assert few.verdict == "warn", few


def test_slow_data_is_worth_a_warning(in_trained):
    finding = check_speed(bench_of(Plain, f"--data={path_of(SlowData)}"))
    assert finding.verdict == "warn" and "slower than the model" in finding.seen


@pytest.mark.parametrize("network", [Normalised, None])
def test_batch_norm_of_one_example(network, in_trained):
    finding = watched(bench_of(network, "--data.init_args.batch_size=1"), BatchNorms()).finding()
    assert finding.verdict == "fail" and "batches of 1 example" in finding.seen


def test_a_network_that_sees_nothing_learns_no_batch(in_trained):
    finding = check_overfit(bench_of(Blind))
    assert finding.verdict == "fail" and "does not learn" in finding.seen


def test_wrong_backward_in_the_loss(in_trained):
    finding = check_head(bench_of(Plain, f"--model={path_of(WrongLoss)}"))
    assert finding.verdict == "fail" and "behind model.network.head: numerical" in finding.seen, finding.seen


def test_a_step_that_dies_is_told_with_its_line(in_trained):
    bench = bench_of(Broken)
    finding = check_step(bench.run(STEPS))
    assert finding.verdict == "fail" and line_of(Broken, "shapes do not fit") in finding.seen
    assert verdicts(examine(bench))["a step runs"] == "fail"
