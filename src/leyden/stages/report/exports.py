"""The section of exported files: what was written, and whether it answers as the checkpoint does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leyden.artifacts import EXPORT_REPORT
from leyden.files import read_json
from leyden.stages.report.wording import listed, percent, plural

BASELINE = "eager"  # the checkpoint itself, run by PyTorch
BATCH_SIZES = (1, 64)


@dataclass
class Exports:
    """Rows of `leyden export`'s report, each with `speed_up_b1` and `speed_up_b64` over the checkpoint.

    Apart: the checkpoint's own row, and those of formats that were skipped, since their tool is absent or cannot express the network.
    """

    files: list[dict[str, Any]]
    baseline: dict[str, Any] | None
    noun: str
    skipped: list[dict[str, Any]] = field(default_factory=list)

    @property
    def fastest(self) -> dict[str, Any] | None:
        timed = [row for row in self.files if row["speed_up_b1"] is not None]
        return max(timed, key=lambda row: row["speed_up_b1"], default=None)

    def verdict(self) -> str:
        """Say whether every file agrees with the checkpoint."""
        names = [name_of(row) for row in self.files]
        failed = [
            f"{name_of(row)} ({row.get('reason') or row['status']})" for row in self.files if row["status"] != "checked"
        ]
        skipped = [f"{name_of(row)} ({row['reason']})" for row in self.skipped]
        left_out = f"; skipped: {listed(skipped)}" if skipped else ""
        if not names:
            return f"no file was exported{left_out}"
        if failed:
            return f"{len(failed)} of {plural(len(names), 'exported file')} not shown to agree with the checkpoint: {listed(failed)}{left_out}"
        agreement = min(row["top1_agreement"] for row in self.files)
        who = {1: "the exported file", 2: "both exported files"}.get(len(names), f"all {len(names)} exported files")
        examples = f"every {self.noun}" if agreement == 1 else f"{percent(agreement)} of the {self.noun}s or more"
        verb = "agrees" if len(names) == 1 else "agree"
        return f"{who} ({listed(names)}) {verb} with the checkpoint on {examples}{left_out}"


def name_of(row: dict[str, Any]) -> str:
    """Name a file by its format, and by its precision where that is a reduced one."""
    return row["format"] if row["precision"] == "fp32" else f"{row['format']} {row['precision']}"


def read_exports(export: Path, noun: str) -> Exports:
    rows = read_json(export / EXPORT_REPORT, "export")
    baseline = next((row for row in rows if row["format"] == BASELINE), None)
    files = [row | speed_ups(row, baseline) for row in rows if row is not baseline and row["status"] != "skipped"]
    return Exports(files, baseline, noun, [row for row in rows if row["status"] == "skipped"])


def speed_ups(row: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, float | None]:
    """Compare median latencies with the checkpoint's; None where either was not measured."""
    found: dict[str, float | None] = {}
    for batch_size in BATCH_SIZES:
        own, other = (rows.get(f"latency_ms_b{batch_size}_p50") for rows in (row, baseline or {}))
        found[f"speed_up_b{batch_size}"] = other / own if own and other else None
    return found
