"""Write the model for other programs; nothing is published that was not run against the checkpoint."""

import json
import tempfile
from pathlib import Path

import leyden
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output
from leyden.models.build import Model
from leyden.models.checkpoint import load_checkpoint
from leyden.stages.export.check import Reference, Tolerances, ask_checkpoint
from leyden.stages.export.export_job import ExportJob
from leyden.stages.export.inputs import inputs_of
from leyden.stages.export.inspect import inspect_model
from leyden.stages.export.request import Request
from leyden.stages.export.rows import eager_row, summary, table
from leyden.trust.records import record_published

FORMATS = {
    "aoti": ["fp32"],
    "pt2": ["fp32"],
    "onnx": ["fp32", "int8"],
    "torchscript": ["fp32"],
    "executorch": ["fp32"],
    "openvino": ["fp32"],
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
    inspect: bool = False,
    trust: bool = False,
) -> None:
    """Write the model in several formats, each file checked on real test examples in a process of its own.

    Args:
        model: The checkpoint.
        data: Where `leyden prepare` wrote; its test examples are the proof, its validation examples calibrate 8-bit files.
        out: Where the files, report.json and report.md go.
        formats: Modules of leyden.stages.export, and the precisions to write of each; adding a format is adding a file there.
        tolerance: How far a file of each precision may be from the checkpoint.
        num_examples: Test examples to compare on, at most.
        num_calibration: Validation examples to calibrate on, at most.
        license: The model's, as every file tells it.
        inspect: Print the model's layers with their weights and operations, and its graph; write nothing.
        trust: Load the checkpoint even if it names a network that is not of leyden, torchvision or timm; what this project has
            published does not need it.
    """
    if not inspect:
        check_output(out, "export", [model, data])
    module = load_checkpoint(model, trust=trust)
    if inspect:
        return print(inspect_model(module), end="")
    inputs = inputs_of(module)
    examples, labels = inputs.read(data, "test", num_examples)
    calibration, _ = inputs.read(data, "val", num_calibration)
    with replaced_folder(out, "export") as folder, tempfile.TemporaryDirectory() as temporary:
        asked = [(name, precision) for name, precisions in formats.items() for precision in precisions]
        files = [
            ExportJob(
                name, Request(module, folder / "model", precision, describe(module, precision, license), calibration)
            )
            for name, precision in asked
        ]
        for file in files:
            file.start()
        for file in files:
            file.finish()
        saved = Path(temporary, "examples.npz")
        examples.save(saved)
        proof = Reference(saved, labels, tolerance, ask_checkpoint(model, saved))
        rows = []
        for file in files:  # one by one, since their speed is measured
            rows.append(file.row(proof))
            print(summary(rows[-1]))
        rows.append(eager_row(module, proof))
        record_published(row["sha256"] for row in rows if row["file"])
        write_json(folder / "report.json", rows)
        (folder / "report.md").write_text(table(rows), encoding="utf-8")


def describe(module: Model, precision: str, license: str) -> str:
    """Describe the model as JSON: what a program needs that has only the file."""
    provenance = module.provenance
    return json.dumps(
        inputs_of(module).describe()
        | {
            "labels": module.labels,
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
