"""The result of a check, and the table of all results."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

CHECK_WIDTH, VERDICT_WIDTH = 22, 8


@dataclass(frozen=True)
class Finding:
    """The result of one check: `fail` will spoil a training, `warn` may spoil it; `skip` could not be checked."""

    check: str
    verdict: Literal["ok", "warn", "fail", "skip"]
    observation: str
    advice: str = ""


def format_table(findings: Iterable[Finding]) -> str:
    """Return findings as a table of the terminal's width, with wrapped texts."""
    total_width = max(100, min(180, shutil.get_terminal_size((150, 24)).columns))
    text_width = (total_width - CHECK_WIDTH - VERDICT_WIDTH) // 2
    rows = [
        ("check", "verdict", "observation", "what to do"),
        *((each.check, each.verdict, each.observation, each.advice) for each in findings),
    ]
    widths = (CHECK_WIDTH, VERDICT_WIDTH, text_width, text_width)
    return "\n".join(line for row in rows for line in format_row(row, widths))


def format_row(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    """Yield the lines of one row."""
    cells = [textwrap.wrap(cell, width - 1) or [""] for cell, width in zip(row, widths, strict=True)]
    for index in range(max(map(len, cells))):
        parts = (cell[index] if index < len(cell) else "" for cell in cells)
        yield " ".join(f"{part:<{width - 1}}" for part, width in zip(parts, widths, strict=True)).rstrip()


def join_names(names: Sequence[str], max_names: int = 3) -> str:
    """Return the first names, and the number of the others."""
    rest = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + rest
