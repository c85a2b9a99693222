"""Write the model for other programs; nothing is published that was not run against the checkpoint."""

import importlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leyden
from leyden.data.packed import read_split
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.models.image_model import ImageModel
from leyden.models.load import load_image_model
from leyden.stages.export.check import Proof, Tolerances, ask, prove
from leyden.stages.export.request import Request
from leyden.stages.export.rows import checked_row, eager_row, skipped_row, summary, table

FORMATS = {
    "pt2": ["fp32"],
    "aoti": ["fp32"],
    "onnx": ["fp32", "int8"],
    "torchscript": ["fp32"],
    "executorch": ["fp32", "int8"],
    "openvino": ["fp32", "int8"],
    "safetensors": ["fp32"],
}


def export(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/export"),
    formats: dict[str, list[str]] = FORMATS,
    tolerance: Tolerances = Tolerances(),
    num_examples: int = 512,
    num_calibration: int = 256,
    license: str = "MIT",
) -> None:
    """Write the model in several formats, each file checked on real test images in a process of its own.

    Args:
        model: The checkpoint.
        data: Where `leyden prepare` wrote; its test images are the proof, its validation images calibrate 8-bit files.
        out: Where the files, report.json and report.md go.
        formats: Modules of leyden.stages.export, and the precisions to write of each; adding a format is adding a file there.
        tolerance: How far a file of each precision may be from the checkpoint.
        num_examples: Test images to compare on, at most.
        num_calibration: Validation images to calibrate on, at most.
        license: The model's, as every file tells it.
    """
    module = load_image_model(model)
    images, labels = read_split(data, "test")
    calibration = as_input(read_split(data, "val").images[:num_calibration])
    rows = []
    with replaced_folder(out) as folder, tempfile.TemporaryDirectory() as temporary:
        examples = Path(temporary, "images.npy")
        np.save(examples, as_input(images[:num_examples]).numpy())
        proof = Proof(examples, labels[:num_examples], tolerance, ask(model, examples))
        for name, precision in [(name, precision) for name, precisions in formats.items() for precision in precisions]:
            request = Request(module, folder / "model", precision, describe(module, precision, license), calibration)
            rows.append({"format": name, "precision": precision} | publish(name, request, proof))
            print(summary(rows[-1]))
        rows.append({"format": "eager", "precision": "fp32"} | eager_row(module, proof))
        write_json(folder / "report.json", rows)
        (folder / "report.md").write_text(table(rows), encoding="utf-8")


def publish(name: str, request: Request, proof: Proof) -> dict[str, Any]:
    """Write one file and check it.

    Returns:
        A row of the report; its status is `skipped` where the format's tool is absent or cannot express the network.

    Raises:
        UserError: if there is no such format or precision, or the file is not what was trained.
    """
    started = time.perf_counter()
    try:
        writer = import_writer(name, request.precision)
        suffix = writer.SUFFIX if request.precision == "fp32" else f".{request.precision}{writer.SUFFIX}"
        request.path = request.path.with_name(request.path.name + suffix)
        writer.write(request)
    except UserError:
        raise
    except Exception as error:  # each exporter has exceptions of its own for what it cannot express
        for file in files_of(request.path):
            file.unlink()
        return skipped_row(error)
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in files_of(request.path))
    return checked_row(request.path.name, size) | prove(proof, request) | {"export_seconds": round(seconds, 2)}


def import_writer(name: str, precision: str) -> Any:
    """Import a format's module: `write(request)`, its files' `SUFFIX`, and the `PRECISIONS` that it can write.

    Raises:
        UserError: if there is no such format, or not in this precision.
        ImportError: if a package that it needs is not installed.
    """
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef write(" in path.read_text(encoding="utf-8"))
    if name not in known:
        raise UserError(f"expected formats among {', '.join(known)}; got {name!r}; set them in configs/export.yaml")
    writer = importlib.import_module(f"leyden.stages.export.{name}")
    if precision not in writer.PRECISIONS:
        raise UserError(f"expected a precision of {name} among {', '.join(writer.PRECISIONS)}; got {precision!r}; set it in configs/export.yaml")
    return writer


def files_of(path: Path) -> list[Path]:
    """List what makes up a model: OpenVINO's weights lie beside its .xml."""
    return [file for file in (path, path.with_suffix(".bin")) if file.is_file()]


def as_input(images: np.ndarray) -> torch.Tensor:
    """Bring images (N, H, W, C) to the models' layout (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(images), 3, 1)))


def describe(module: ImageModel, precision: str, license: str) -> str:
    """Describe the model as JSON: what a program needs that has only the file."""
    provenance = module.provenance
    shape = ["batch", module.channels, *module.image_size]
    return json.dumps(
        {
            "labels": module.labels,
            "input": {"name": "images", "dtype": "uint8", "shape": shape} | module.spec["input"],
            "output": {"name": "logits", "dtype": "float32", "shape": ["batch", len(module.labels)]},
            "precision": precision,
            "temperature": module.spec.get("temperature", 1.0),
            "license": license,
            "data_hash": provenance.get("data_hash", ""),
            "code_version": provenance.get("code_version", ""),
            "leyden": leyden.__version__,
        },
        ensure_ascii=False,
        sort_keys=True,
    )
