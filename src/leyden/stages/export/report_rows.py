"""The rows of the report: one per requested file, and one of the checkpoint to compare speeds with."""

import math
from typing import Any

from leyden.artifacts import CHECKED, REFUSED, SKIPPED
from leyden.errors import one_line
from leyden.models.build import Model
from leyden.stages.export.export_request import CannotWriteError
from leyden.stages.export.verification import Reference, compare_outputs

COLUMNS = {
    "format": "format",
    "precision": "precision",
    "bytes": "bytes",
    "max_abs_diff": "max diff",
    "max_relative_diff": "relative to spread",
    "mean_abs_diff": "mean diff",
    "agreement": "agreement",
    "agreement_low": "from",
    "agreement_high": "to",
    "score_name": "measure",
    "score": "score",
    "load_ms": "load, ms",
    "latency_ms_b1_p50": "batch 1, ms",
    "latency_ms_b64_p50": "batch 64, ms",
    "peak_memory_mb": "memory, MB",
    "status": "status",
    "reason": "reason",
}


def skipped_row(error: Exception) -> dict[str, Any]:
    """Describe in one line why a format was not written."""
    if isinstance(error, ImportError):
        reason = f"{error.name or error} is not installed; install leyden[export]"
    elif isinstance(error, CannotWriteError):
        reason = str(error)
    else:
        reason = f"cannot express this network: {type(error).__name__}: {one_line(error, 200)}"
    return {"file": "", "status": SKIPPED, "reason": reason}


def refused_row(failure: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """Describe a lossy file that was not published, with how far it was from the checkpoint; infinity is None."""
    kept = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
        if name.endswith("_diff") or name.startswith(("agreement", "score")) or name == "examples"
    }
    return {"file": "", "status": REFUSED, "reason": failure} | kept


def eager_row(module: Model, reference: Reference) -> dict[str, Any]:
    """Describe the checkpoint itself, run by PyTorch."""
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    row = {"format": "eager", "precision": "fp32", "file": "", "bytes": size, "status": CHECKED, "reason": ""}
    return row | compare_outputs(reference.expected, reference.expected, reference.targets, reference.reader)


def summarize_row(row: dict[str, Any]) -> str:
    """Describe a file in one line, for the terminal."""
    if row["status"] != CHECKED:
        return f"export: {row['format']} {row['precision']}: {row['status']}: {row['reason']}"
    note = f"; {row['reason']}" if row["reason"] else ""
    agreement = f"agreement {row['agreement']:.4f}, " if "agreement" in row else ""
    if row.get("too_few_examples"):
        low, high = row["agreement_low"], row["agreement_high"]
        agreement = f"agreement {row['agreement']:.4f} (on so few examples, {low:.4f} to {high:.4f}), "
    return (
        f"export: {row['file']}: {row['bytes'] / 1e6:.2f} MB, largest difference {row['max_abs_diff']:.1e}, "
        f"{agreement}{row['latency_ms_b1_p50']:.2f} ms at batch 1{note}"
    )


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Format the rows as a Markdown table."""
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS)]
    for row in rows:
        values = [row.get(key, "") for key in COLUMNS]
        lines.append([f"{value:.4g}" if isinstance(value, float) else str(value) for value in values])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
