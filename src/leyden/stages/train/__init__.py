"""`leyden fit`, `tune`, `doctor`, `validate` and `test`: LightningCLI, in a run folder that an interrupted training resumes from."""

import csv
import inspect
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from leyden.errors import UserError
from leyden.files import replaced_folder, sha256, write_json
from leyden.models.classifier import Classifier
from leyden.models.load import check_checkpoint, read_checkpoint, unpickle
from leyden.models.trust import record_published
from leyden.outputs import check_output
from leyden.stages.train.cli import ESSENTIALS, LeydenCLI, lightning_errors
from leyden.stages.train.resume import STOPPED, newest_checkpoint
from leyden.stages.train.run import Run
from leyden.stages.train.tune import tune
from leyden.stages.train.watching import peak_memory_mb

PUBLISHED = Path("artifacts/train")


def main(verb: str, args: list[str]) -> None:
    """Parse LightningCLI's configuration and run one verb."""
    if {"-h", "--help"} & set(args):
        print(ESSENTIALS, flush=True)
    cli = LeydenCLI.parse(verb, args)
    with lightning_errors():
        if verb == "fit":
            fit(cli)
        elif verb == "doctor":
            from leyden.stages.train.doctor import doctor

            doctor(cli)
        elif verb == "tune":
            tune(cli)
        else:
            score(cli, verb)


def options() -> list[str]:
    """List the options that shell completion offers beside the keys of the config."""
    return [f"--trainer.{name}=" for name in inspect.signature(Trainer).parameters] + ["--ckpt_path=", "--print_config"]


def fit(cli: LeydenCLI) -> None:
    """Train, or continue the interrupted training of the same config, data and code; publish the best model when it is done."""
    run = cli.run
    if cli.config.ckpt_path:
        raise UserError(
            f"expected no --ckpt_path; got {cli.config.ckpt_path}; fit resumes by itself, and model.start_from takes an earlier model's weights"
        )
    if not isinstance(cli.model, Classifier):
        raise UserError(f"expected leyden.Classifier or a subclass of it, which describes its network in checkpoints; got {type(cli.model).__name__}")
    if cli.config.trainer.fast_dev_run:
        cli.trainer.fit(cli.model, cli.datamodule)
        return
    for path in cli.model.given_files:
        if Path(path).resolve().is_relative_to(PUBLISHED.resolve()):
            raise UserError(f"expected a teacher or start outside {PUBLISHED}, which this training replaces; copy {path} first, and give the copy")
    folder = (cli.config.data.get("init_args") or {}).get("folder")  # of the prepared data; a DataModule of the user's may have none
    check_output(PUBLISHED, "train", [Path(folder)] if folder else [])
    with locked(run, cli.trainer.is_global_zero):
        resume = newest_checkpoint(run)
        if resume:
            rank_zero_info(f"fit: continues in {run.folder}")
        else:
            rank_zero_info(f"fit: starts in {run.folder}: {run.news()}")
        if cli.trainer.is_global_zero:
            cli.save_config(run.folder / "config.yaml")
            run.remember()
        started = time.perf_counter()
        try:
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=resume, weights_only=True)
        except SystemExit as error:
            raise error if error.code in STOPPED else KeyboardInterrupt from error  # Lightning makes an exit of a second Ctrl-C
        publish(cli, run, time.perf_counter() - started)


@contextmanager
def locked(run: Run, leader: bool) -> Iterator[None]:
    """Keep a second training out of a run folder: one whose `dvc repro` was killed lives on as an orphan, and its work is not lost."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not leader:
        yield
        return
    lock = FileLock(run.folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = run.owner.read_text() if run.owner.exists() else "unknown"
        rank_zero_info(f"fit: waits for process {owner}, which trains in {run.folder}; stop it to take over")
        lock.acquire()
    try:
        run.owner.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


@rank_zero_only
def publish(cli: LeydenCLI, run: Run, seconds: float) -> None:
    """Copy what the run made to artifacts/train: the best weights with all that they need, the scores, the curves."""
    if not run.best.is_file():
        raise UserError("expected a best epoch, and no epoch was scored; let one end and be validated (max_epochs, max_steps, limit_val_batches)")
    best = unpickle(run.best)
    kept = {key: best[key] for key in ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "leyden")}
    rows = list(csv.DictReader((run.folder / "curves.csv").read_text().splitlines()))
    best_row = next(row for row in rows if int(row["epoch"]) == best["epoch"])
    metrics: dict[str, Any] = {name: float(value) for name, value in best_row.items() if "/" in name}
    if not math.isfinite(metrics.get(cli.config.checkpoint.monitor, 0)):
        raise UserError(f"expected a finite {cli.config.checkpoint.monitor} in some epoch; nothing is published; `leyden doctor` finds the cause")
    check_checkpoint(best, run.best)
    metrics["epoch"] = best["epoch"]
    metrics["parameters"] = sum(parameter.numel() for parameter in cli.model.parameters())
    metrics["seconds"] = round(seconds, 2)
    metrics["peak_memory_mb"] = round(peak_memory_mb())
    with replaced_folder(PUBLISHED, "train") as folder:
        torch.save(kept, folder / "model.ckpt")
        digest = sha256(folder / "model.ckpt")
        record_published([digest])
        (folder / "curves.csv").write_bytes((run.folder / "curves.csv").read_bytes())
        (folder / "config.yaml").write_bytes((run.folder / "config.yaml").read_bytes())
        write_json(folder / "metrics.json", metrics)
        provenance = {key: value for key, value in cli.model.provenance.items() if key != "config"}
        write_json(folder / "provenance.json", provenance | {"model_sha256": digest})
    rank_zero_info(
        f"fit: best epoch {best['epoch'] + 1} of {len(rows)}: val/accuracy {metrics['val/accuracy']:.4f}, val/loss {metrics['val/loss']:.4f}; "
        f"{PUBLISHED}/model.ckpt written in {seconds:.1f} s"
    )


def score(cli: LeydenCLI, verb: str) -> None:
    path = Path(cli.config.ckpt_path or PUBLISHED / "model.ckpt")
    if not path.is_file():
        raise UserError(f"expected a checkpoint at {path}, which is not there; run `leyden fit` first, or give --ckpt_path")
    read_checkpoint(path)
    run = cli.trainer.test if verb == "test" else cli.trainer.validate
    run(cli.model, datamodule=cli.datamodule, ckpt_path=str(path), weights_only=True)
