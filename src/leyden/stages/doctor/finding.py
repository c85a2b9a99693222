"""The result of a check, and the table of all results."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

HEADER = ("check", "verdict", "observation", "what to do")
CHECK_WIDTH, VERDICT_WIDTH = 22, 8


@dataclass(frozen=True)
class Finding:
    """The result of one check: `fail` will spoil a training, `warn` may spoil it; `skip` could not be checked."""

    verdict: Literal["ok", "warn", "fail", "skip"]
    observation: str
    advice: str = ""


def format_table(findings: Mapping[str, Finding]) -> str:
    """Return findings, by the name of their check, as a table of the terminal's width, with wrapped texts."""
    total_width = max(100, min(180, shutil.get_terminal_size((150, 24)).columns))
    text_width = (total_width - CHECK_WIDTH - VERDICT_WIDTH) // 2
    rows = [HEADER, *((name, *astuple(finding)) for name, finding in findings.items())]
    widths = (CHECK_WIDTH, VERDICT_WIDTH, text_width, text_width)
    return "\n".join(line for row in rows for line in format_row(row, widths))


def format_row(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    cells = [textwrap.wrap(cell, width - 1) or [""] for cell, width in zip(row, widths, strict=True)]
    for index in range(max(map(len, cells))):
        parts = (cell[index] if index < len(cell) else "" for cell in cells)
        yield " ".join(f"{part:<{width - 1}}" for part, width in zip(parts, widths, strict=True)).rstrip()


def join_names(names: Sequence[str]) -> str:
    """Return the first three names, and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
