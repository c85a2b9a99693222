"""One file of the export: written, or skipped with a reason; then verified."""

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from leyden.artifacts import CHECKED
from leyden.errors import DISK_FULL, UserError
from leyden.files import sha256
from leyden.stages.export.agreement import Comparison
from leyden.stages.export.export_request import ExportRequest, Quantisation
from leyden.stages.export.input_spec import limit_examples
from leyden.stages.export.layer_search import LayerSearch
from leyden.stages.export.report_rows import refused_row, skipped_row
from leyden.stages.export.tensor_module import TensorModule
from leyden.stages.export.verification import Reference, describe_failure, run_step, verify
from leyden.stages.export.writers import import_writer
from leyden.trust.checksum import SUFFIXES, with_checksum_placeholder, write_checksum

LOSSLESS = ("fp32",)
MAX_SEARCH_EXAMPLES = 256
MIN_FREE_BYTES = 1 << 20


class ExportJob:
    """One file to export: if the format's tool is missing or cannot express the network, only this file is skipped."""

    def __init__(self, name: str, request: ExportRequest) -> None:
        """Find the format's writer.

        Raises:
            UserError: if there is no such format or precision.
        """
        self.name, self.request = name, request
        self.skipped: Exception | None = None
        self.seconds = 0.0
        self._finish: Callable[[], None] | None = None
        with self._timed_and_guarded():
            self._writer = import_writer(name, request)
            if self._writer.SUFFIX in SUFFIXES:
                request.metadata = with_checksum_placeholder(request.metadata)
            precision = "" if request.precision == "fp32" else f".{request.precision}"
            request.path = request.path.with_name(request.path.name + precision + self._writer.SUFFIX)

    def start(self) -> None:
        """Write the file, or start writing it in the background."""
        if not self.skipped:
            enabled = self.request.precision in getattr(self._writer, "BRANCHING_PRECISIONS", ())
            with self._timed_and_guarded(), branching(self.request.module.network, enabled):
                self._finish = self._writer.write(self.request)

    def finish(self) -> None:
        """Wait for what the writer left running, and write the file's checksum into it."""
        if self.skipped:
            return
        with self._timed_and_guarded():
            if self._finish:
                self._finish()
            if self._writer.SUFFIX in SUFFIXES:
                write_checksum(self.request.path)

    def verify(self, reference: Reference) -> dict[str, Any]:
        """Verify the file, and return its row of the report.

        A lossy file that misses its tolerance is quantised again, with what a search finds to be better; if that is not
        enough, it is removed, and its row says so.

        Raises:
            UserError: if the outputs of a file in full precision are not the checkpoint's.
        """
        row: dict[str, Any] = {"format": self.name, "precision": self.request.precision}
        if self.skipped:
            return row | skipped_row(self.skipped)
        metrics = verify(reference, self.request)
        if failure := self._failure(reference, metrics):
            if self.request.precision in LOSSLESS:
                raise UserError(
                    f"{self.request.path.name}: {failure}; nothing is published; fix the format's writer, or increase "
                    "`tolerance` in configs/export.yaml"
                )
            metrics, failure = self._retry(reference, metrics, failure)
            if self.skipped:
                return row | skipped_row(self.skipped)
        if failure:
            remove_model(self.request.path)
            return row | refused_row(failure, metrics)
        path = self.request.path
        size = sum(file.stat().st_size for file in model_files(path))
        # `leyden.load` recognises the file as this project's own by its hash.
        row |= {"file": path.name, "bytes": size, "sha256": sha256(path), "status": CHECKED, "reason": self._note()}
        row |= {"float32_layers": list(self.request.quantisation.float32_layers)}
        row |= {"too_few_examples": self._is_uncertain(reference, metrics)}
        row |= metrics | {"export_seconds": round(self.seconds, 2)}
        self.request.steps.clear()  # each holds a copy of the weights
        return row

    def _failure(self, reference: Reference, metrics: dict[str, Any]) -> str:
        """Describe why a file is not within its tolerance; empty if it is."""
        tolerance = reference.tolerance(self.request.precision)
        if tolerance.allows(metrics["max_relative_diff"], metrics["agreement"]):
            return ""
        return describe_failure(reference, self.request, metrics)

    def _is_uncertain(self, reference: Reference, metrics: dict[str, Any]) -> bool:
        """Return whether a lossy file's agreement might be below its tolerance on more examples.

        The outputs of a file in full precision leave no doubt: they are within a fraction of a thousandth.
        """
        tolerance = reference.tolerance(self.request.precision)
        return self.request.precision not in LOSSLESS and metrics["agreement_low"] < tolerance.agreement

    def _retry(self, reference: Reference, metrics: dict[str, Any], failure: str) -> tuple[dict[str, Any], str]:
        """Search for a better quantisation, and verify the file again if there is one."""
        if not (self.request.precision.startswith("int8") and hasattr(self._writer, "list_candidates")):
            return metrics, failure
        request = self.request
        with self._timed_and_guarded():
            request.calibration = request.more_calibration or request.calibration
            assert not isinstance(request.input_spec, TensorModule)  # which has no 8-bit files
            examples = request.calibration.take(limit_examples(request.input_spec, MAX_SEARCH_EXAMPLES))
            search = LayerSearch(
                request.path.name,
                self._writer.list_candidates(request),
                examples,
                Comparison(reference.reader, run_step(request.module, examples)),
                reference.tolerance(request.precision),
            )
            found = search.find()
        if self.skipped:
            return metrics, failure
        if found is None:
            return metrics, f"{failure}; none of {search.num_runs} ways to quantise it is within the tolerance"
        request.quantisation = found
        request.metadata = describe_quantisation(request.metadata, found)
        self.start()
        self.finish()
        if self.skipped:
            return metrics, failure
        metrics = verify(reference, request)
        return metrics, self._failure(reference, metrics)

    def _note(self) -> str:
        """Describe how the file was quantised, unless that is by default."""
        quantisation = self.request.quantisation
        parts = ["calibrated by percentile"] if quantisation.calibration == "percentile" else []
        if layers := quantisation.float32_layers:
            parts.append(f"float32 layers: {', '.join(layers)}")
        return "; ".join(parts)

    @contextmanager
    def _timed_and_guarded(self) -> Iterator[None]:
        """Add to the seconds; on an exception other than a UserError, skip this file."""
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # exporters warn about their own dependencies
                yield
        except UserError:
            raise
        except Exception as error:  # each exporter has its own exceptions for what it cannot express
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            check_disk(self.request.path.parent)
            self.skipped = error
            remove_model(self.request.path)
        self.seconds += time.perf_counter() - started


def check_disk(folder: Path) -> None:
    """Raise OSError if the disk is full, which exporters report as almost any exception."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(MIN_FREE_BYTES))


@contextmanager
def branching(network: nn.Module, enabled: bool) -> Iterator[None]:
    """Keep a network's branches that depend on the data, or let it compute all of them and select the same logits.

    Only a network with an attribute `branching` has the choice; the attribute is restored at the end.
    """
    original = getattr(network, "branching", None)
    if original is None or enabled:
        yield
        return
    network.branching = False  # type: ignore[assignment]
    try:
        yield
    finally:
        network.branching = original


def model_files(path: Path) -> list[Path]:
    """List the files of a model: OpenVINO's weights are beside its .xml."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return [file for file in files if file.is_file()]


def remove_model(path: Path) -> None:
    for file in model_files(path):
        file.unlink()


def describe_quantisation(metadata: str, quantisation: Quantisation) -> str:
    """Add to a file's metadata (JSON) how it was quantised."""
    return json.dumps(json.loads(metadata) | asdict(quantisation), ensure_ascii=False, sort_keys=True)
