"""What a check found, and the table of all of them."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

WIDTHS = (22, 8)  # of the columns before the texts


@dataclass(frozen=True)
class Finding:
    """One row: `fail` would spoil a training, `warn` may; `skip` could not be looked at."""

    check: str
    verdict: Literal["ok", "warn", "fail", "skip"]
    seen: str
    advice: str = ""


def table(findings: Iterable[Finding]) -> str:
    """Lay findings out in the terminal's width, texts wrapped."""
    total = max(100, min(180, shutil.get_terminal_size((150, 24)).columns))
    text = (total - sum(WIDTHS)) // 2
    rows = [
        ("check", "verdict", "seen", "what to do"),
        *((each.check, each.verdict, each.seen, each.advice) for each in findings),
    ]
    return "\n".join(line for row in rows for line in laid_out(row, (*WIDTHS, text, text)))


def laid_out(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    """Give the lines of one row."""
    cells = [textwrap.wrap(cell, width - 1) or [""] for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        parts = (cell[number] if number < len(cell) else "" for cell in cells)
        yield " ".join(f"{part:<{width - 1}}" for part, width in zip(parts, widths, strict=True)).rstrip()


def named(layers: Sequence[str], most: int = 3) -> str:
    """Name some layers, and count the others."""
    rest = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(layers[:most]) + rest
