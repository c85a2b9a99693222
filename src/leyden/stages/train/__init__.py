"""`leyden fit`, `tune`, `validate` and `test`: LightningCLI, with run folders from which trainings resume."""

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.nn.parameter import is_lazy

from leyden.errors import UserError
from leyden.files.outputs import check_output
from leyden.models.checkpoint import check_lightning_entries, read_checkpoint
from leyden.stages.train.publishing import PUBLISHED, publish
from leyden.stages.train.tuning import tune
from leyden.training.cli import LeydenCLI, as_list, lightning_errors, options, reads_prepared_data, training_errors
from leyden.training.config_checks import check_monitors
from leyden.training.resumption import newest_checkpoint
from leyden.training.run_folder import locked
from leyden.training.score_names import check_mode, is_validation_score
from leyden.training.supervised_module import SupervisedModule

__all__ = ["main", "options"]


def main(verb: str, args: list[str]) -> None:
    """Parse LightningCLI's configuration and run one verb."""
    cli = LeydenCLI.parse(verb, args)
    with lightning_errors():
        if verb == "fit":
            fit(cli)
        elif verb == "tune":
            tune(cli)
        else:
            score(cli, verb)


def fit(cli: LeydenCLI) -> None:
    """Train, or resume an interrupted training of the same config, data and code; publish the best model at the end."""
    check_fit(cli)
    if cli.config.trainer.fast_dev_run:
        with training_errors(cli):
            cli.trainer.fit(cli.model, cli.datamodule)
        return
    run = cli.run
    with locked(run, cli.trainer.is_global_zero):
        resume = newest_checkpoint(run)
        start = f"continues in {run}" if resume else f"starts in {run}: {run.describe_changes()}"
        rank_zero_info(f"fit: {start}")
        if cli.trainer.is_global_zero:
            cli.save_config(run.folder / "config.yaml")
            run.save_identity()
        started = time.perf_counter()
        with training_errors(cli):
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=resume, weights_only=True)
        publish(cli, time.perf_counter() - started)


def check_fit(cli: LeydenCLI) -> None:
    """Raise UserError for mistakes that would otherwise end the training only after its last epoch."""
    if cli.config.ckpt_path:
        raise UserError(
            f"expected no --ckpt_path; got {cli.config.ckpt_path}; leave it out to resume, "
            "or set model.start_from to inherit the weights of an earlier model"
        )
    monitor = cli.config.checkpoint.monitor
    needs_validation = isinstance(cli.model, SupervisedModule) or (monitor and is_validation_score(monitor))
    if needs_validation:
        check_validated(cli, monitor)
    check_monitored(cli)
    if monitor and not cli.config.checkpoint.mode:
        check_mode(monitor)
    if cli.config.trainer.fast_dev_run:
        return
    for name in ("limit_train_batches", "limit_val_batches") if needs_validation else ("limit_train_batches",):
        if cli.config.trainer[name] == 0:
            raise UserError(f"expected batches to train on and to validate; got trainer.{name}: 0; set it above 0")
    for path in getattr(cli.model, "input_files", []):
        if Path(path).resolve().is_relative_to(PUBLISHED.resolve()):
            raise UserError(
                f"expected a teacher or start_from outside {PUBLISHED}, which this training replaces; got {path}; "
                f"copy {path} first and use the copy"
            )
    check_output(
        PUBLISHED, "train", [Path(cli.config.data.init_args.folder)] if reads_prepared_data(cli.datamodule) else []
    )


def check_validated(cli: LeydenCLI, monitor: str | None) -> None:
    """Raise UserError if no epoch is validated, but a score of the validation compares them."""
    loaders = (cli.model, cli.datamodule)
    missing = {
        f"{type(cli.model).__name__} has no validation_step": not is_overridden("validation_step", cli.model),
        f"{type(cli.datamodule).__name__} has no val_dataloader": not any(
            is_overridden("val_dataloader", owner) for owner in loaders
        ),
    }
    for reason, is_missing in missing.items():
        if is_missing:
            raise UserError(
                f"expected a validation, by which checkpoint.monitor: {monitor} compares epochs; {reason}; set "
                "checkpoint.monitor to a score of the training, or to null to publish the last epoch"
            )


def check_monitored(cli: LeydenCLI) -> None:
    """Check what epochs are compared by, if all scores are known: further callbacks and subclasses may log others."""
    configured = {each.class_path.rpartition(".")[2] for each in as_list(cli.config.trainer.callbacks)}
    if type(cli.model) is SupervisedModule and configured <= {"EarlyStopping", "ModelCheckpoint"}:
        callbacks = cli.trainer.callbacks  # type: ignore[attr-defined]
        monitored = [each.monitor for each in callbacks if getattr(each, "monitor", None)]
        check_monitors(monitored, {*map(str, cli.model.val_scores), "train/loss", "epoch", "step"})


def score(cli: LeydenCLI, verb: str) -> None:
    """Run Lightning's validation or test on a checkpoint."""
    path = Path(cli.config.ckpt_path or PUBLISHED / "model.ckpt")
    if not path.is_file():
        raise UserError(f"expected a checkpoint at {path}; not found; run `leyden fit` first, or set --ckpt_path")
    checkpoint = read_checkpoint(path)
    check_lightning_entries(checkpoint, path)
    check_module(cli, checkpoint["leyden"], path)
    if has_comparable_weights(cli.model, checkpoint["leyden"]):
        check_weights_fit(checkpoint["state_dict"], cli.model.state_dict(), path)
    score_model = cli.trainer.test if verb == "test" else cli.trainer.validate
    try:
        with training_errors(cli):
            score_model(cli.model, datamodule=cli.datamodule, ckpt_path=str(path.absolute()), weights_only=True)
    except SystemExit as error:  # the library that prints the table exits with 1 if nothing reads it
        if isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error


def check_module(cli: LeydenCLI, description: Mapping[str, Any], path: Path) -> None:
    """Raise UserError if a checkpoint is not of the configured LightningModule, or the module has no step to score."""
    expected = "leyden.SupervisedModule"
    if not isinstance(cli.model, SupervisedModule):
        expected = cli.config.model.class_path
    got = description["module"]["class_path"] if "module" in description else "leyden.SupervisedModule"
    if got != expected:
        raise UserError(
            f"expected a checkpoint of the configured {expected}; {path} is of {got}; "
            "set the checkpoint's own config with -c (artifacts/train/config.yaml), or --ckpt_path"
        )


def has_comparable_weights(module: LightningModule, description: Mapping[str, Any]) -> bool:
    """Return whether a module should have a checkpoint's weights, and has them all before Lightning loads it."""
    if isinstance(module, SupervisedModule):
        return all(description[part] == module.model.spec[part] for part in ("network", "labels", "input"))
    return not is_overridden("configure_model", module) and not any(map(is_lazy, module.state_dict().values()))


def check_weights_fit(weights: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Raise UserError if the names or shapes of a checkpoint's weights differ from the model's."""
    shapes = {name: getattr(value, "shape", None) for name, value in weights.items()}
    if differing := sorted(
        name
        for name in {*shapes, *expected}
        if name not in shapes or name not in expected or shapes[name] != getattr(expected[name], "shape", None)
    ):
        raise UserError(
            f"expected the weights of the config's network in {path}; {len(differing)} differ, {differing[0]} first; "
            "set the checkpoint's own config with -c"
        )
