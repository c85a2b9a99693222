"""`leyden doctor`: what is wrong with a model or its data, found out in a few steps before a training spends hours."""

import sys

from leyden.stages.doctor.activations import Activations
from leyden.stages.doctor.batch_norm import BatchNorms
from leyden.stages.doctor.bench import Bench, place_of
from leyden.stages.doctor.finding import Finding, table
from leyden.stages.doctor.gradients import Gradients
from leyden.stages.doctor.head import check_head
from leyden.stages.doctor.inplace import check_inplace, is_inplace_error
from leyden.stages.doctor.memory import check_memory
from leyden.stages.doctor.numerics import FiniteCheck, NonFiniteError, check_finite
from leyden.stages.doctor.overfit import check_overfit
from leyden.stages.doctor.speed import check_speed
from leyden.training.cli import LeydenCLI, lightning_errors, options, print_essentials

__all__ = ["main", "options"]

CONFIG = "train"  # the doctor examines the training that configs/train.yaml describes
STEPS = 8


def main(verb: str, args: list[str]) -> None:
    """Parse LightningCLI's configuration and examine the training that it describes."""
    print_essentials(args)
    cli = LeydenCLI.parse(verb, args)
    with lightning_errors():
        doctor(cli)


def doctor(cli: LeydenCLI) -> None:
    """Look at a few steps of the training that the config describes, print a table, write nothing.

    Raises:
        SystemExit: code 1, if a check fails; warnings alone end with 0.
    """
    findings = examine(Bench(cli))
    print(table(findings))
    failed = [finding.check for finding in findings if finding.verdict == "fail"]
    if failed:
        print(f"doctor: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}", file=sys.stderr)
        raise SystemExit(1)


def examine(bench: Bench) -> list[Finding]:
    """Run every check, those that watch in one run of hooks, the others in a run of their own."""
    activations, gradients, norms, finite = Activations(), Gradients(), BatchNorms(), FiniteCheck()
    error = bench.run(STEPS, [activations, gradients, norms, finite])
    findings = [
        check_step(error),
        check_inplace(bench, error, STEPS),
        check_finite(bench, finite),
        activations.finding(),
        norms.finding(),
    ]
    if error is None or gradients.norms:
        findings += gradients.findings()
    if error is None or isinstance(error, NonFiniteError):
        findings += [check_overfit(bench), check_head(bench), check_memory(bench), check_speed(bench)]
    return findings


def check_step(error: Exception | None) -> Finding:
    """Tell whether a training step runs at all."""
    if error is None or isinstance(error, NonFiniteError) or is_inplace_error(error):
        return Finding("a step runs", "ok", f"{STEPS} steps" if error is None else "up to the trouble below")
    text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]} ({place_of(error)})"
    return Finding(
        "a step runs",
        "fail",
        text,
        "mend this first; the other checks need steps. LEYDEN_DEBUG=1 leyden fit shows the traceback",
    )
