"""Run every benchmark of this folder, or those named (`run.py help,noop`), and write benchmarks/results.json and README.md.

`run.py readme` measures nothing and writes README.md from results.json.

A benchmark is a file here with a function `measure() -> list[Row]`. Machines are shared and noisy: what counts is the
ratio to a baseline measured in the same run, the two taking turns.
"""

import ast
import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timing import Row, Skip

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("run", "timing", "cifar10"))


def main(chosen: str = "") -> int:
    names = [] if chosen == "readme" else chosen.split(",") if chosen else NAMES
    if unknown := set(names) - set(NAMES):
        print(f"bench: expected names among {', '.join(NAMES)}; got {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    results = HERE / "results.json"
    kept = {row["name"]: row for row in json.loads(results.read_text())} if results.is_file() else {}
    for name in names:
        try:
            rows = importlib.import_module(name).measure()
        except Skip as reason:
            print(f"{name:<18} skipped: {reason}", flush=True)
            continue
        told = {"command": f"make bench ONLY={name}", "hardware": hardware()}
        kept |= {row.name: {**asdict(row), **told} for row in rows}
        for row in rows:
            print(line(row), flush=True)
        results.write_text(json.dumps(list(kept.values()), indent=2) + "\n")
    (HERE / "README.md").write_text(readme(list(kept.values())))
    return 0


def readme(rows: list[dict[str, Any]]) -> str:
    """Write each benchmark's figures below what it says of itself."""
    parts = [
        "# Benchmarks",
        "Written by `benchmarks/run.py` from `results.json`; do not edit. `make bench` measures all, `make bench ONLY=name` one. Machines are "
        "shared and noisy: what counts is the ratio of value to baseline, the usual way of doing it, measured in turns in the same run. "
        "Value and baseline are medians over n repeats, unless the unit says otherwise.",
    ]
    for name in NAMES:
        own = [row for row in rows if row["command"].endswith(f"ONLY={name}")]
        parts += [f"## {name}", ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""]
        parts.append(f"`{own[0]['command']}`\n\n{table(own)}" if own else "Not measured yet.")
    return "\n\n".join(parts) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| row | value | baseline | ratio | goal | n | hardware |", "|---|--:|--:|--:|---|--:|---|"]
    for row in rows:
        baseline, ratio = ("" if row[key] is None else f"{row[key]:,}" for key in ("baseline", "ratio"))
        lines.append(
            f"| {row['name']} | {row['value']:,} {row['unit']} | {baseline} | {ratio} | {row['goal']} | {row['repeats']} | {row['hardware']} |"
        )
    return "\n".join(lines)


def hardware() -> str:
    """Name what ratios between precisions and devices depend on: cores, the best arithmetic they have, and the GPU."""
    import torch

    known = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX512-BF16": torch.cpu._is_avx512_bf16_supported()}
    arithmetic = next((name for name, there in known.items() if there), torch.backends.cpu.get_cpu_capability())
    cores = f"{len(os.sched_getaffinity(0))} cores, {arithmetic}"
    return f"{cores}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else cores


def line(row: Row) -> str:
    against = (
        f"{row.ratio:8.2f}x of {row.baseline:.4g} {row.unit}"
        if row.ratio is not None and row.baseline is not None
        else " " * 20
    )
    return f"{row.name:<18} {row.value:10.4g} {row.unit:<10} {against}  goal {row.goal}  (n={row.repeats})"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
