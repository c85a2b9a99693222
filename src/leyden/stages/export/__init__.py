"""Write the model in formats for other programs; a file is published only if it agrees with the checkpoint."""

import json
import tempfile
from pathlib import Path

import leyden
from leyden.artifacts import EXPORT_REPORT
from leyden.data.packed import read_report
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output
from leyden.models.build import Model
from leyden.models.checkpoint import read_checkpoint, rebuild_checkpoint
from leyden.outputs import load_reader
from leyden.ranges import check_range
from leyden.runtimes.compatibility import check_fits
from leyden.runtimes.examples import save_examples
from leyden.stages.export.agreement import Tolerances
from leyden.stages.export.export_job import ExportJob
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.input_spec import limit_examples, make_input_spec
from leyden.stages.export.inspect import inspect_model
from leyden.stages.export.report_rows import eager_row, markdown_table, summarize_row
from leyden.stages.export.verification import Reference, run_checkpoint
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


MORE_CALIBRATION = 4  # times as many examples for an 8-bit file that misses its tolerance


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
    """Write the model in several formats, each file verified on real test examples in a separate process.

    A float32 file that differs from the checkpoint fails the command. A file in a lower precision that does is
    quantised again, with some layers in float32 if necessary; if that is not enough, it is left out and the report says
    so.

    Args:
        model: The checkpoint.
        data: Where `leyden prepare` wrote; files are verified on its test examples, and 8-bit files calibrated on its
            validation examples.
        out: Where the files, report.json and report.md go.
        formats: Modules of leyden.stages.export, and the precisions to write of each; a new file there is a new format.
        tolerance: How far a file of each precision may differ from the checkpoint.
        num_examples: Test examples to compare on, at most.
        num_calibration: Validation examples to calibrate on, at most; 4 times as many for an 8-bit file that misses its
            tolerance.
        license: Licence of the model, which is stored in every file.
        inspect: Print the model's layers with their weights and operations, and its graph; write nothing.
        trust: Load the checkpoint even if it names a network from outside leyden, torchvision and timm; not needed for
            what this project has published.
    """
    if not inspect:
        check_output(out, "export", [model, data])
    check_range("export", "[1, inf)", num_examples=num_examples, num_calibration=num_calibration)
    for name, limits in vars(tolerance).items():
        check_range(f"export.tolerance.{name}", "[0, inf)", max_relative_diff=limits.max_relative_diff)
        check_range(f"export.tolerance.{name}", "[0, 1]", agreement=limits.agreement)
    if not any(formats.values()):
        raise UserError(f"expected a format with a precision; got formats: {formats}; set them in configs/export.yaml")
    checkpoint = read_checkpoint(model)
    if "module" in checkpoint["leyden"]:  # a LightningModule of the user's: Lightning takes seconds to import
        from leyden.models.module_checkpoint import rebuild_module
        from leyden.stages.export.own_module import export_own_module, summarize_layers

        own = rebuild_module(checkpoint, model, trust=trust)
        if inspect:
            return print(summarize_layers(own))
        description, limits = checkpoint["leyden"], tolerance.fp32
        return export_own_module(own, description, model, out, formats, limits, num_examples, license, trust)
    module = rebuild_checkpoint(checkpoint, model, trust=trust)
    if inspect:
        return print(inspect_model(module), end="")
    check_fits(module, read_report(data), model, data, can_resize=False)
    spec = make_input_spec(module)
    reader = load_reader(module.spec)
    examples, targets = spec.read(data, "test", limit_examples(spec, num_examples))
    calibration, more_calibration = (spec.read(data, "val", n * num_calibration)[0] for n in (1, MORE_CALIBRATION))
    with replaced_folder(out, "export") as folder, tempfile.TemporaryDirectory() as temporary:
        path = folder / "model"
        jobs = [
            ExportJob(name, ExportRequest(module, path, precision, metadata, calibration, more_calibration))
            for name, precisions in formats.items()
            for precision in precisions
            for metadata in [describe(module, precision, license)]
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.finish()
        saved = Path(temporary, "examples.npz")
        save_examples(saved, examples)
        reference = Reference(saved, targets, tolerance, run_checkpoint(model, saved), reader)
        rows = []
        for job in jobs:  # one by one, since their speed is measured
            rows.append(job.verify(reference))
            print(summarize_row(rows[-1]))
        rows.append(eager_row(module, reference))
        record_published(row["sha256"] for row in rows if row["file"])
        write_json(folder / EXPORT_REPORT, rows)
        (folder / "report.md").write_text(markdown_table(rows), encoding="utf-8")


def describe(module: Model, precision: str, license: str) -> str:
    """Return the metadata of a file as JSON: what a program that has only the file needs to know."""
    spec, reader = make_input_spec(module), load_reader(module.spec)
    return json.dumps(
        spec.describe()
        | {
            "labels": module.labels,
            "task": module.spec["task"],
            "output": {"name": reader.output_name, "dtype": "float32", "shape": ["batch", *spec.output_shape]},
            "precision": precision,
            "temperature": module.spec.get("temperature", 1.0),
            "license": license,
            "data_hash": module.provenance.get("data_hash", ""),
            "code_version": module.provenance.get("code_version", ""),
            "leyden": leyden.__version__,
        },
        ensure_ascii=False,
        sort_keys=True,
    )
