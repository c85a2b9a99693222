"""Write the model for other programs; nothing is published that was not run against the checkpoint."""

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import leyden
from leyden.data.packed import read_split
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.models.image_model import ImageModel
from leyden.models.load import load_image_model
from leyden.stages.export.check import Check, Tolerance, check_file, time_eager
from leyden.stages.export.inspect import inspect_model

Writer = Callable[[ImageModel, Path, str], None]


def export(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/export"),
    formats: list[str] = ["pt2", "onnx"],
    tolerance: Tolerance = Tolerance(),
    num_examples: int = 512,
    inspect: bool = False,
) -> None:
    """Write the model in several formats, each file checked on real test images.

    Args:
        model: The checkpoint.
        data: Where `leyden prepare` wrote; its test images are the proof.
        out: Where the files, report.json and report.md go.
        formats: Modules of leyden.stages.export to run; adding a format is adding a file there.
        tolerance: How far a file may be from the checkpoint.
        num_examples: Test images to compare on, at most.
        inspect: Print the model's layers with their weights and operations, and its graph; write nothing.
    """
    module = load_image_model(model)
    if inspect:
        return print(inspect_model(module), end="")
    split = read_split(data, "test")
    images, labels = split.images[:num_examples], split.labels[:num_examples]
    metadata = describe(module)
    check = Check(module, images, labels, tolerance)
    rows = []
    with replaced_folder(out) as folder:
        for name in formats:
            path = folder / f"model.{name}"
            started = time.perf_counter()
            writer_of(name)(module, path, metadata)
            row = check_file(check, path) | {"export_seconds": round(time.perf_counter() - started, 2)}
            rows.append(row)
            print(
                f"export: {path.name}: {row['bytes'] / 1e6:.2f} MB, largest logit difference {row['max_abs_diff']:.1e}, "
                f"top-1 agreement {row['top1_agreement']:.4f}, {row['latency_ms_b1_p50']:.2f} ms at batch 1"
            )
        rows.append(time_eager(check))
        write_json(folder / "report.json", rows)
        (folder / "report.md").write_text(table(rows), encoding="utf-8")


def writer_of(name: str) -> Writer:
    """Find the function `write` of a format's module.

    Raises:
        UserError: if there is no such format, or its packages are not installed.
    """
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "check", "inspect"))
    if name not in known:
        raise UserError(f"expected formats among {', '.join(known)}; got {name!r}; set them in configs/export.yaml")
    try:
        return importlib.import_module(f"leyden.stages.export.{name}").write
    except ImportError as error:
        raise UserError(f"expected the packages of the group 'export'; {error.name} is missing; run `make`, or install leyden[export]") from error


def describe(module: ImageModel) -> str:
    """Describe the model as JSON: what a program needs that has only the file."""
    provenance = module.provenance
    shape = ["batch", module.channels, *module.image_size]
    return json.dumps(
        {
            "labels": module.labels,
            "input": {"name": "images", "dtype": "uint8", "shape": shape} | module.spec["input"],
            "output": {"name": "logits", "dtype": "float32", "shape": ["batch", len(module.labels)]},
            "data_hash": provenance.get("data_hash", ""),
            "code_version": provenance.get("code_version", ""),
            "leyden": leyden.__version__,
        },
        ensure_ascii=False,
        sort_keys=True,
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Lay rows out as a Markdown table."""
    columns = ["format", "precision", "bytes", "max_abs_diff", "top1_agreement", "accuracy", "latency_ms_b1_p50", "latency_ms_b64_p50", "status"]
    lines = [columns, ["---"] * len(columns)] + [[f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
