"""Run all benchmarks, or those named (`run.py help,noop`), and write benchmarks/results.json and README.md.

`run.py readme` measures nothing and writes README.md from results.json.

A benchmark is a file here with a function `measure() -> list[Row]`. Machines are shared and noisy: what counts is the
ratio to a baseline that is measured alternately in the same run.
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


def main(selection: str = "") -> int:
    names = [] if selection == "readme" else selection.split(",") if selection else NAMES
    if unknown := set(names) - set(NAMES):
        print(f"bench: expected names among {', '.join(NAMES)}; got {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    results = HERE / "results.json"
    all_rows = {row["name"]: row for row in json.loads(results.read_text())} if results.is_file() else {}
    for name in names:
        try:
            rows = importlib.import_module(name).measure()
        except Skip as reason:
            print(f"{name:<18} skipped: {reason}", flush=True)
            continue
        context = {"command": f"make bench ONLY={name}", "hardware": hardware()}
        all_rows |= {row.name: {**asdict(row), **context} for row in rows}
        for row in rows:
            print(summary(row), flush=True)
        results.write_text(json.dumps(list(all_rows.values()), indent=2) + "\n")
    (HERE / "README.md").write_text(readme(list(all_rows.values())))
    return 0


def readme(rows: list[dict[str, Any]]) -> str:
    """Return the page: the docstring of each benchmark, and the table of its rows."""
    parts = [
        "# Benchmarks",
        "Written by `benchmarks/run.py` from `results.json`; do not edit. `make bench` runs all benchmarks, "
        "`make bench ONLY=name` one. Machines are shared and noisy: what counts is the ratio of the value to the "
        "baseline (the usual implementation), measured alternately in the same run. Value and baseline are "
        "medians over n repeats, unless the unit says otherwise.",
    ]
    for name in NAMES:
        own_rows = [row for row in rows if row["command"].endswith(f"ONLY={name}")]
        parts += [f"## {name}", ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""]
        parts.append(f"`{own_rows[0]['command']}`\n\n{table(own_rows)}" if own_rows else "Not measured yet.")
    return "\n\n".join(parts) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| row | value | baseline | ratio | goal | n | hardware |", "|---|--:|--:|--:|---|--:|---|"]
    for row in rows:
        baseline, ratio = ("" if row[key] is None else f"{row[key]:,}" for key in ("baseline", "ratio"))
        lines.append(
            f"| {row['name']} | {row['value']:,} {row['unit']} | {baseline} | {ratio} | {row['goal']} "
            f"| {row['repeats']} | {row['hardware']} |"
        )
    return "\n".join(lines)


def hardware() -> str:
    """Describe what the ratios depend on: the number of cores, their best instruction set, and the GPU."""
    import torch

    supported = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX512-BF16": torch.cpu._is_avx512_bf16_supported()}
    instructions = next(
        (name for name, is_supported in supported.items() if is_supported), torch.backends.cpu.get_cpu_capability()
    )
    cores = f"{len(os.sched_getaffinity(0))} cores, {instructions}"
    return f"{cores}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else cores


def summary(row: Row) -> str:
    comparison = (
        f"{row.ratio:8.2f}x of {row.baseline:.4g} {row.unit}"
        if row.ratio is not None and row.baseline is not None
        else " " * 20
    )
    return f"{row.name:<18} {row.value:10.4g} {row.unit:<10} {comparison}  goal {row.goal}  (n={row.repeats})"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
