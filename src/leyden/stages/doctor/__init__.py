"""`leyden doctor`: finds problems of a model or its data in a few steps, before a long training."""

import sys

from leyden.errors import type_and_message
from leyden.stages.doctor.activations import ActivationMonitor
from leyden.stages.doctor.batch_norm import BatchNormMonitor
from leyden.stages.doctor.finding import Finding, format_table
from leyden.stages.doctor.gradients import GradientMonitor
from leyden.stages.doctor.head import check_head
from leyden.stages.doctor.inplace import check_inplace, is_inplace_error
from leyden.stages.doctor.memory import check_memory
from leyden.stages.doctor.numerics import FiniteCheck, NonFiniteError, check_finite
from leyden.stages.doctor.overfit import check_overfit
from leyden.stages.doctor.speed import check_speed
from leyden.stages.doctor.trial import TrialRunner, locate_error
from leyden.training.cli import LeydenCLI, lightning_errors, options

__all__ = ["main", "options"]

CONFIG = "train"  # the doctor checks the training that configs/train.yaml describes
NUM_STEPS = 8
MANUAL = Finding("skip", "manual optimisation: training_step returns no loss that could be checked")


def main(verb: str, args: list[str]) -> None:
    """Parse LightningCLI's configuration and check the training that it describes."""
    cli = LeydenCLI.parse(verb, args)
    with lightning_errors():
        doctor(cli)


def doctor(cli: LeydenCLI) -> None:
    """Run a few steps of the configured training and print a table of findings; write no file.

    Raises:
        SystemExit: code 1, if a check fails; warnings alone end with 0.
    """
    findings = run_checks(TrialRunner(cli))
    print(format_table(findings))
    failed = [name for name, finding in findings.items() if finding.verdict == "fail"]
    if failed:
        print(f"doctor: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}", file=sys.stderr)
        raise SystemExit(1)


def run_checks(runner: TrialRunner) -> dict[str, Finding]:
    """Run every check: those that only observe share one trial, the others have their own. Return findings by name."""
    activations, gradients = ActivationMonitor(), GradientMonitor()
    batch_norms, finite = BatchNormMonitor(), FiniteCheck()
    announce(f"runs {NUM_STEPS} training steps")
    error = runner.run(NUM_STEPS, [activations, gradients, batch_norms, finite])
    findings = {
        "a step runs": check_step(error),
        "in-place operations": check_inplace(runner, error, NUM_STEPS),
        "NaN and infinity": check_finite(runner, finite),
        "activations": activations.check(),
        "batch norm": batch_norms.check(),
    }
    if error is None or gradients.norms:
        findings["gradients"] = gradients.check_norms()
        findings["parameters learn"] = gradients.check_missing()
    if error is None or isinstance(error, NonFiniteError):
        announce("trains on one batch until it is learned")
        findings["learns one batch"] = check_overfit(runner) if runner.is_automatic else MANUAL
        announce("compares the loss's gradient with finite differences")
        findings["gradient of the loss"] = check_head(runner) if runner.is_automatic else MANUAL
        announce("looks for memory that grows from step to step")
        findings["memory"] = check_memory(runner)
        announce("times the input pipeline")
        findings["input pipeline"] = check_speed(runner)
    return findings


def announce(activity: str) -> None:
    """Print to stderr what is going on: a large network takes minutes for it."""
    print(f"doctor: {activity}", file=sys.stderr, flush=True)


def check_step(error: BaseException | None) -> Finding:
    """Check whether training steps run without an exception."""
    if error is None:
        return Finding("ok", f"{NUM_STEPS} steps")
    if isinstance(error, NonFiniteError) or is_inplace_error(error):
        return Finding("ok", "up to the failure below")
    observation = f"{type_and_message(error)} ({locate_error(error)})"
    advice = "fix this first; the other checks need steps. LEYDEN_DEBUG=1 leyden fit shows the traceback"
    return Finding("fail", observation, advice)
