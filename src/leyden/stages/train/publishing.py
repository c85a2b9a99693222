"""The results of a finished training in artifacts/train."""

import math
import re
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from leyden.data.packed import read_report
from leyden.errors import UserError
from leyden.files import replaced_folder, sha256, write_json
from leyden.files.tables import read_table
from leyden.models.checkpoint import check_checkpoint, unpickle_checkpoint, write_checkpoint
from leyden.stages.train.kept_epoch import KeptEpoch, describe_kept_epoch
from leyden.training.cli import LeydenCLI, reads_prepared_data
from leyden.training.progress import peak_memory_mb
from leyden.training.supervised_module import SupervisedModule
from leyden.trust.records import record_published

PUBLISHED = Path("artifacts/train")
# Entries of a checkpoint that only resume a training: they are not published.
TRAINING_KEYS = {
    "averaging_state",
    "callbacks",
    "current_model_state",
    "earlier_scores",
    "loops",
    "lr_schedulers",
    "optimizer_states",
    "scores",
    "train_loss",
    MixedPrecision.__qualname__,
}
NOT_SCORES = re.compile(r"epoch|step|learning_rate(_\d+)?")  # columns of curves.csv


@rank_zero_only
def publish(cli: LeydenCLI, seconds: float) -> None:
    """Write the best checkpoint of a finished training, its scores and its curves to artifacts/train.

    Raises:
        UserError: if no epoch was validated, or the monitored score is not finite.
    """
    run = cli.run
    if not run.best.is_file():
        raise UserError(
            "expected at least one validated epoch; got none; "
            "let an epoch end and be validated (max_epochs, max_steps, limit_val_batches)"
        )
    best = unpickle_checkpoint(run.best)
    rows = read_table(run.folder / "curves.csv", "fit")
    best_row = next(row for row in rows if int(row["epoch"]) == best["epoch"])
    scores = {name: float(value) for name, value in best_row.items() if value and not NOT_SCORES.fullmatch(name)}
    metrics: dict[str, Any] = {name: value for name, value in scores.items() if math.isfinite(value)}  # JSON has no NaN
    if not math.isfinite(scores.get(cli.config.checkpoint.monitor, 0)):
        raise UserError(
            f"expected a finite {cli.config.checkpoint.monitor} in the best epoch; got "
            f"{scores[cli.config.checkpoint.monitor]}; nothing is published; run `leyden doctor` to find the cause"
        )
    check_checkpoint(best, run.best)
    metrics |= {"epoch": best["epoch"], "parameters": sum(parameter.numel() for parameter in cli.model.parameters())}
    metrics |= {"seconds": round(seconds, 2), "peak_memory_mb": round(peak_memory_mb())}
    kept = judge_kept_epoch(cli, rows, best_row)
    with replaced_folder(PUBLISHED, "train") as folder:
        write_checkpoint({key: best[key] for key in best if key not in TRAINING_KEYS}, folder / "model.ckpt")
        digest = sha256(folder / "model.ckpt")
        record_published([digest])
        for name in ("curves.csv", "config.yaml"):
            (folder / name).write_bytes((run.folder / name).read_bytes())
        write_json(folder / "metrics.json", metrics)
        provenance = {key: value for key, value in cli.provenance.items() if key != "config"}
        write_json(folder / "provenance.json", provenance | {"model_sha256": digest, "kept_epoch": kept._asdict()})
    shown = [name for name in scores if name.startswith("val")] or [*scores]
    listed = ", ".join(f"{name} {scores[name]:.4f}" for name in shown)
    rank_zero_info(f"fit: {kept.reason}: {listed}; {PUBLISHED}/model.ckpt written in {seconds:.1f} s")
    for warning in kept.warnings:
        print(f"fit: warning: {warning}", file=sys.stderr)


def judge_kept_epoch(cli: LeydenCLI, rows: list[dict[str, str]], kept: dict[str, str]) -> KeptEpoch:
    """Describe why the epoch of the row `kept` was chosen."""
    checkpoint = cli.config_init.checkpoint
    schedule = cli.model.schedule if isinstance(cli.model, SupervisedModule) else None
    num_warmup_steps = schedule.warmup_fraction * float(cli.trainer.estimated_stepping_batches) if schedule else 0.0
    folder = cli.config.data.init_args.folder if reads_prepared_data(cli.datamodule) else None
    # Of a part of the validation split, the frequencies of the labels are not known.
    limit = cli.config.trainer.limit_val_batches  # 1 is one batch, 1.0 the whole split
    is_whole = limit is None or (isinstance(limit, float) and limit == 1)
    val_counts = list(read_report(Path(folder))["counts"]["val"].values()) if folder and is_whole else []
    return describe_kept_epoch(rows, kept, checkpoint.monitor, checkpoint.mode, num_warmup_steps, val_counts)
