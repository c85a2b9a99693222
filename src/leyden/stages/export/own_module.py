"""The export of a LightningModule of the user's: every format that can express its `forward`, checked output by output.

Its inputs are those of Lightning's `example_input_array`, else those of the first batch of its data.
"""

import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.model_summary import ModelSummary
from torch import Tensor

import leyden
from leyden.artifacts import CHECKED, EXPORT_REPORT
from leyden.errors import UserError, one_line, own_code_errors
from leyden.files import replaced_folder, sha256, write_json
from leyden.models.module_batches import read_batches
from leyden.models.module_checkpoint import load_data_module
from leyden.runtimes.examples import ImageExamples
from leyden.runtimes.module_inputs import Arguments, bind_batch
from leyden.stages.export.agreement import Tolerance
from leyden.stages.export.export_job import ExportJob, model_files
from leyden.stages.export.export_request import ExportRequest
from leyden.stages.export.module_files import Run, open_file, run_torch
from leyden.stages.export.report_rows import markdown_table, skipped_row, summarize_row
from leyden.stages.export.tensor_module import BATCH, TensorModule
from leyden.trust.records import record_published

MAX_BATCH = 64  # what ExecuTorch's files take
FEW = 3
NUM_TIMED = 20
NO_CALIBRATION = ImageExamples(np.empty((0, 0, 0, 0), np.uint8))  # no 8-bit file is written


class Case(NamedTuple):
    """A batch of real inputs, and the module's outputs for it."""

    inputs: list[Tensor]
    outputs: list[Tensor]


def export_own_module(
    module: LightningModule,
    description: dict[str, Any],
    model: Path,
    out: Path,
    formats: dict[str, list[str]],
    tolerance: Tolerance,
    num_examples: int,
    license: str,
    trust: bool,
) -> None:
    """Write the formats in float32; a file is published if its outputs are the module's on real test batches.

    Args:
        module: The module, in evaluation mode.
        description: The entry `leyden` of its checkpoint.
        model: The checkpoint.
        out: Where files and reports go.
        formats: Precisions by format; of others than fp32, the report says that they are skipped.
        tolerance: How far outputs may differ.
        num_examples: Test examples to compare on, at most.
        license: Of the model.
        trust: Whether the checkpoint may name any class.

    Raises:
        UserError: if `forward` cannot be called on what is known of its inputs, or a file's outputs differ.
    """
    if not is_overridden("forward", module):
        raise UserError(
            f"expected a forward, which is what is exported; {type(module).__name__} has none; add one, or leave "
            "`leyden export` out"
        )
    tensor_module, batches = prepare_inputs(module, load_data_module(model, trust=trust), num_examples)
    cases = [Case(inputs, run_module(tensor_module, inputs)) for inputs in batches]
    check_reproducible(tensor_module, cases[0], tolerance)
    metadata = describe_own_module(tensor_module, description, license)
    with replaced_folder(out, "export") as folder:
        jobs = [
            ExportJob(name, ExportRequest(tensor_module, folder / "model", precision, metadata, NO_CALIBRATION))
            for name, precisions in formats.items()
            for precision in precisions
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.finish()
        rows = []
        for job in jobs:
            rows.append(verify_file(job, tensor_module, cases, tolerance))
            print(summarize_row(rows[-1]))
        rows.append(eager_row(tensor_module, cases))
        record_published(row["sha256"] for row in rows if row["file"])
        write_json(folder / EXPORT_REPORT, rows)
        (folder / "report.md").write_text(markdown_table(rows), encoding="utf-8")


def summarize_layers(module: LightningModule) -> str:
    """Return a table of all layers with their numbers of weights."""
    return str(ModelSummary(module, max_depth=-1))


def prepare_inputs(module: LightningModule, data: Any, count: int) -> tuple[TensorModule, list[list[Tensor]]]:
    """Return the module as a function of tensors, and batches of real inputs of several sizes, one of which is 1.

    If test batches do not have the form of `example_input_array`, that is the only input.
    """
    example = module.example_input_array
    found = [] if example is not None and not has_loader(data) else read_arguments(module, data, count)
    tensor_module = TensorModule(module, found[0] if example is None else as_arguments(example))
    batches = [each for each in map(tensor_module.flatten, found) if tensor_module.accepts(each)]
    if example is not None and not batches:
        batches = [tensor_module.flatten(as_arguments(example))]
    first = batches[0]
    parts = [part for batch in batches for part in split(tensor_module, batch)]
    return tensor_module, [*parts, tensor_module.take(first, 1), tensor_module.take(first, FEW)]


def as_arguments(example: Any) -> Arguments:
    """Return the call that Lightning makes of an `example_input_array`."""
    if isinstance(example, dict):
        return (), example
    return (tuple(example) if isinstance(example, list | tuple) else (example,)), {}


def has_loader(data: Any) -> bool:
    return is_overridden("test_dataloader", data) or is_overridden("val_dataloader", data)


def read_arguments(module: LightningModule, data: Any, count: int) -> list[Arguments]:
    """Return the arguments of `forward` for test batches, as many as hold `count` examples."""
    with own_code_errors(f"test batches of {type(data).__name__}"):
        calls, num_examples = list[Arguments](), 0
        for batch in read_batches(module, data):
            calls.append(bind_batch(module.forward, batch))
            num_examples += next((len(each) for each in TensorModule.flatten(calls[-1]) if each.ndim), 1)
            if num_examples >= count:
                break
        return calls


def split(module: TensorModule, batch: list[Tensor]) -> list[list[Tensor]]:
    """Split a batch into parts that every format takes."""
    rows = torch.arange(module.batch_size(batch)).split(MAX_BATCH)
    return [module.select(batch, each) for each in rows]


def run_module(module: TensorModule, inputs: list[Tensor]) -> list[Tensor]:
    """Return the module's outputs.

    Raises:
        UserError: if it fails, an output is NaN or infinite, or a shape does not follow from the batch's size.
    """
    size, name = module.batch_size(inputs), type(module.network).__name__
    expected = f"{name}.forward to take {size} examples"
    with own_code_errors(expected, advice="correct it, or set example_input_array"), torch.no_grad():
        outputs = list(module(*inputs))
    shapes = [[size if each == BATCH else each for each in described.shape] for described in module.outputs]
    if (got := [list(each.shape) for each in outputs]) != shapes:
        raise UserError(
            f"expected {name}.forward to return {shapes} for {size} examples, as for others; got {got}; return the "
            "same dimensions for every size of a batch"
        )
    for described, each in zip(module.outputs, outputs, strict=True):
        if each.layout != torch.strided:
            raise UserError(
                f"expected dense outputs of {name}.forward; {described.name} is sparse; return it with to_dense()"
            )
        if not each.isfinite().all():
            raise UserError(
                f"expected finite outputs of {name}.forward; {described.name} has NaN or infinity on test examples; "
                "nothing is published; train the model again"
            )
    return outputs


def check_reproducible(module: TensorModule, case: Case, tolerance: Tolerance) -> None:
    """Raise UserError if `forward` returns other outputs for the same inputs, as one that draws random numbers does."""
    if compare([case.outputs], [run_module(module, case.inputs)])["max_relative_diff"] > tolerance.max_relative_diff:
        raise UserError(
            f"expected {type(module.network).__name__}.forward to return the same outputs for the same inputs in "
            "evaluation mode; they differ from call to call, so no file could be checked; make it deterministic there"
        )


def compare(expected: list[list[Tensor]], got: list[list[Tensor]]) -> dict[str, Any]:
    """Compare the outputs of several batches.

    Returns:
        The largest and mean absolute difference of any output; the largest one divided by its output's standard
        deviation over all examples; and the output's index.
    """
    largest = {"max_abs_diff": 0.0, "max_relative_diff": 0.0, "mean_abs_diff": 0.0, "output": 0}
    for index, (whole, other) in enumerate(zip(zip(*expected, strict=True), zip(*got, strict=True), strict=True)):
        if [each.shape for each in whole] != [each.shape for each in other]:
            return dict.fromkeys(("max_abs_diff", "max_relative_diff", "mean_abs_diff"), np.inf) | {"output": index}
        values, others = (torch.cat([as_doubles(each) for each in batches]) for batches in (whole, other))
        if not len(values):
            continue
        differences = (values - others).abs().nan_to_num(np.inf)
        spread = float(values.std(correction=0)) or float(values.abs().max()) or 1.0
        relative = float(differences.max()) / spread
        largest["max_abs_diff"] = max(largest["max_abs_diff"], float(differences.max()))
        largest["mean_abs_diff"] = max(largest["mean_abs_diff"], float(differences.mean()))
        if relative > largest["max_relative_diff"]:
            largest |= {"max_relative_diff": relative, "output": index}
    return largest


def as_doubles(values: Tensor) -> Tensor:
    """Return all numbers of a tensor, complex ones as real and imaginary parts, float64 (N,)."""
    return (torch.view_as_real(values) if values.is_complex() else values).double().flatten()


def verify_file(job: ExportJob, module: TensorModule, cases: list[Case], tolerance: Tolerance) -> dict[str, Any]:
    """Run a file in its own runtime, and return its row of the report.

    Raises:
        UserError: if it does not run, or an output is not the module's.
    """
    row: dict[str, Any] = {"format": job.name, "precision": job.request.precision}
    if job.skipped:
        return row | skipped_row(job.skipped)
    path = job.request.path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # runtimes warn of their own age: TorchScript's, of torch.jit.load
            run = open_file(path)
        outputs = [run(case.inputs) for case in cases]
        difference = compare([case.outputs for case in cases], outputs)
    except Exception as error:  # each runtime raises its own exceptions
        raise UserError(
            f"{path.name}: expected it to run in its own runtime; it fails with {type(error).__name__}: "
            f"{one_line(error, 200)}; nothing is published; leave the format out of `formats` in configs/export.yaml"
        ) from error
    output = module.outputs[difference.pop("output")]
    if not difference["max_relative_diff"] <= tolerance.max_relative_diff:
        raise UserError(
            f"{path.name}: expected the module's outputs within {tolerance.max_relative_diff:g} of their standard "
            f"deviation; got a difference of {difference['max_relative_diff']:.4g} for {output.name}; nothing is "
            "published; leave the format out of `formats`, or increase `tolerance`, in configs/export.yaml"
        )
    size = sum(file.stat().st_size for file in model_files(path))
    row |= {"file": path.name, "bytes": size, "sha256": sha256(path), "status": CHECKED, "reason": ""}
    row |= difference | {"examples": count_examples(module, cases), "export_seconds": round(job.seconds, 2)}
    return row | {"latency_ms_b1_p50": measure_latency_ms(run, cases[-2].inputs)}


def count_examples(module: TensorModule, cases: list[Case]) -> int:
    return sum(module.batch_size(case.inputs) for case in cases[:-2])  # the last two repeat some of them


def measure_latency_ms(run: Run, inputs: list[Tensor]) -> float:
    """Return the median time of a call in milliseconds."""
    times = []
    for _ in range(NUM_TIMED):
        started = time.perf_counter()
        run(inputs)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def eager_row(module: TensorModule, cases: list[Case]) -> dict[str, Any]:
    """Describe the checkpoint itself, run by PyTorch."""
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    row = {"format": "eager", "precision": "fp32", "file": "", "bytes": size, "status": CHECKED, "reason": ""}
    latency_ms = measure_latency_ms(run_torch(module), cases[-2].inputs)
    return row | {"examples": count_examples(module, cases), "latency_ms_b1_p50": latency_ms}


def describe_own_module(module: TensorModule, description: dict[str, Any], license: str) -> str:
    """Return the metadata of a file as JSON: what a program that has only the file needs to know."""
    provenance = description.get("provenance", {})
    return json.dumps(
        {
            "module": description["module"]["class_path"],
            "inputs": [each._asdict() for each in module.inputs],
            "outputs": [each._asdict() for each in module.outputs],
            "precision": "fp32",
            "license": license,
            "data_hash": provenance.get("data_hash", ""),
            "code_version": provenance.get("code_version", ""),
            "leyden": leyden.__version__,
        }
        | {name: description[name] for name in ("labels",) if name in description},
        ensure_ascii=False,
        sort_keys=True,
    )
