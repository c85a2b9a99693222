"""The exported files: sizes, speed, and agreement with the checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden.artifacts import CHECKED, EXPORT_REPORT, REFUSED, SKIPPED
from leyden.files import read_json
from leyden.outputs.number_format import percent, two_digits
from leyden.outputs.reader import OutputReader
from leyden.outputs.score_format import format_value, score_title
from leyden.stages.report.formatting import join_names, plural

BASELINE = "eager"  # the checkpoint itself, run by PyTorch


@dataclass
class Exports:
    """Rows of `leyden export`'s report, each with `speedup_b1` and `speedup_b64` over the checkpoint.

    Separate from them are the checkpoint's own row, the formats that were skipped, because their tool is not installed
    or cannot express the network, and the files that were refused, because they differ too much from the checkpoint.
    """

    files: list[dict[str, Any]]
    baseline: dict[str, Any] | None
    noun: str
    skipped: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    reader: OutputReader

    @property
    def unit_noun(self) -> str:
        """What agreement is counted in: examples, pixels, or predicted numbers."""
        return "pixel" if self.reader.is_dense else "prediction" if self.reader.predicts_numbers else self.noun

    @property
    def fastest(self) -> dict[str, Any] | None:
        timed = (row for row in self.files if row["speedup_b1"] is not None)
        return max(timed, key=lambda row: row["speedup_b1"], default=None)

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [row for row in self.files if row["status"] != CHECKED]

    @property
    def uncertain(self) -> list[dict[str, Any]]:
        """The files whose agreement might be below the tolerance on more examples."""
        return [row for row in self.files if row.get("too_few_examples")]

    def format_agreement(self, row: dict[str, Any]) -> str:
        """Format on how many examples a file agrees with the checkpoint, with the interval unless all agree."""
        agreement, low, high = (row.get(f"agreement{end}") for end in ("", "_low", "_high"))
        if low is None or agreement == 1:
            return percent(agreement)
        return f"{percent(agreement)} ({percent(low)} to {percent(high)})"

    @property
    def score_name(self) -> str:
        """The name of the measure that each file has a score of."""
        return next((row["score_name"] for row in (self.baseline, *self.files) if row and "score_name" in row), "score")

    @property
    def score_title(self) -> str:
        return score_title(self.score_name)

    def format_score(self, row: dict[str, Any]) -> str:
        return format_value(self.score_name, row.get("score"), self.reader.unit(self.score_name))

    def describe_refused(self, row: dict[str, Any]) -> str:
        """Describe how far a refused file is from the checkpoint: the labels or the logits can be the reason."""
        text = f"{self._same()} {self.format_agreement(row)} of the {self.unit_noun}s"
        if "max_relative_diff" not in row:
            return text
        size = row["max_relative_diff"]  # None if it is infinite
        outputs = "target\u2019s" if self.reader.predicts_numbers else "logits\u2019"
        difference = "infinite" if size is None else f"{two_digits(size)} of the {outputs} standard deviation"
        kind = "difference" if self.reader.predicts_numbers else "logit difference"
        return f"{text}; the largest {kind} is {difference}"

    def _same(self) -> str:
        if self.reader.predicts_numbers:
            return "about the same number for"
        return (
            "same labels on"
            if self.reader.has_label_set
            else "same class on"
            if self.reader.is_dense
            else "same label on"
        )

    def summary(self) -> str:
        """Report whether every file agrees with the checkpoint."""
        names = [file_label(row) for row in self.files]
        skipped = [f"{file_label(row)} ({row['reason']})" for row in self.skipped]
        suffix = f"; skipped: {join_names(skipped)}" if skipped else ""
        if self.refused:
            refused = [f"{file_label(row)} ({self.describe_refused(row)})" for row in self.refused]
            suffix = f"; not published, because too different: {join_names(refused)}{suffix}"
        if not names:
            return f"no file was exported{suffix}"
        if self.failed:
            reasons = [f"{file_label(row)} ({row.get('reason') or row['status']})" for row in self.failed]
            files = f"{len(reasons)} of {plural(len(names), 'exported file')}"
            return f"{files} did not pass the check against the checkpoint: {join_names(reasons)}{suffix}"
        unit = self.unit_noun
        agreement = min(row["agreement"] for row in self.files)
        subject = {1: "the exported file", 2: "both exported files"}.get(len(names), f"all {len(names)} exported files")
        examples = f"every {unit}" if agreement == 1 else f"at least {percent(agreement)} of the {unit}s"
        counts = [row["examples"] for row in self.files if row.get("examples")]
        examples += f" ({plural(min(counts), f'test {self.noun}')})" if counts else ""
        verb = "agrees" if len(names) == 1 else "agree"
        return f"{subject} ({join_names(names)}) {verb} with the checkpoint on {examples}{suffix}"


def file_label(row: dict[str, Any]) -> str:
    """Label a file by its format, and by its precision unless that is fp32."""
    return row["format"] if row["precision"] == "fp32" else f"{row['format']} {row['precision']}"


def read_exports(export: Path, noun: str, reader: OutputReader) -> Exports:
    rows = read_json(export / EXPORT_REPORT, "export")
    baseline = next((row for row in rows if row["format"] == BASELINE), None)
    others = [row for row in rows if row is not baseline]
    skipped, refused = ([row for row in others if row["status"] == status] for status in (SKIPPED, REFUSED))
    files = [row | speedups(row, baseline) for row in others if row["status"] not in (SKIPPED, REFUSED)]
    return Exports(files, baseline, noun, skipped, refused, reader)


def speedups(row: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, float | None]:
    """Divide the checkpoint's median latencies by the file's; None where either was not measured."""
    ratios: dict[str, float | None] = {}
    for batch_size in (1, 64):
        key = f"latency_ms_b{batch_size}_p50"
        latency_ms, baseline_ms = row.get(key), (baseline or {}).get(key)
        ratios[f"speedup_b{batch_size}"] = baseline_ms / latency_ms if latency_ms and baseline_ms else None
    return ratios
