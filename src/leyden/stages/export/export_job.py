"""One file of the export: written, or skipped with its reason; then checked."""

import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leyden.errors import UserError
from leyden.models.sequence_model import SequenceModel
from leyden.stages.export.branches import branches
from leyden.stages.export.check import Reference, verify
from leyden.stages.export.request import CannotWriteError, Request
from leyden.stages.export.rows import checked_row, skipped_row
from leyden.trust.checksum import SUFFIXES, with_checksum_placeholder, write_checksum


class ExportJob:
    """One file on its way: a format's tool that is absent, or cannot express the network, ends this file and no other."""

    def __init__(self, name: str, request: Request) -> None:
        """Find the format's writer.

        Raises:
            UserError: if there is no such format or precision.
        """
        self.name, self.request = name, request
        self.skipped: Exception | None = None
        self.seconds = 0.0
        self._finish: Callable[[], None] | None = None
        with self._timed_and_guarded():
            self._writer = import_writer(name, request.precision)
            refuse_sequences(self._writer, request)
            if self._writer.SUFFIX in SUFFIXES:
                request.metadata = with_checksum_placeholder(request.metadata)
            suffix = (
                self._writer.SUFFIX if request.precision == "fp32" else f".{request.precision}{self._writer.SUFFIX}"
            )
            request.path = request.path.with_name(request.path.name + suffix)

    def start(self) -> None:
        """Write the file, or start to."""
        if not self.skipped:
            kept = self.request.precision in getattr(self._writer, "BRANCHES", ())
            with self._timed_and_guarded(), branches(self.request.module.network, kept):
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

    def row(self, proof: Reference) -> dict[str, Any]:
        """Check the file.

        Raises:
            UserError: if it is not what was trained.
        """
        row = {"format": self.name, "precision": self.request.precision}
        if self.skipped:
            return row | skipped_row(self.skipped)
        size = sum(file.stat().st_size for file in files_of(self.request.path))
        row |= (
            checked_row(self.request.path, size)
            | verify(proof, self.request)
            | {"export_seconds": round(self.seconds, 2)}
        )
        self.request.steps.clear()  # each holds the weights once more
        return row

    @contextmanager
    def _timed_and_guarded(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # exporters warn of their own dependencies
                yield
        except UserError:
            raise
        except Exception as error:  # each exporter has exceptions of its own for what it cannot express
            self.skipped = error
            for file in files_of(self.request.path):
                file.unlink()
        self.seconds += time.perf_counter() - started


def files_of(path: Path) -> list[Path]:
    """List what makes up a model: OpenVINO's weights lie beside its .xml."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return [file for file in files if file.is_file()]


# Known, and without a writer: what would check their files was not at hand, and no file is published unchecked.
UNSUPPORTED_FORMATS = {
    "coreml": "its files run on macOS only, where this was not tried; coremltools converts model.pt2",
    "tensorrt": "it needs an NVIDIA GPU and TensorRT, with which this was not tried; trtexec converts model.onnx",
}


def refuse_sequences(writer: Any, request: Request) -> None:
    """Refuse to write what a format's files of sequences were not tried in.

    Raises:
        CannotWriteError: of a model of sequences, in such a precision.
    """
    precisions = getattr(writer, "SEQUENCES", ())
    if isinstance(request.module, SequenceModel) and request.precision not in precisions:
        raise CannotWriteError(
            f"of models of sequences it writes {', '.join(precisions)}"
            if precisions
            else "it is written of models of images only"
        )


def import_writer(name: str, precision: str) -> Any:
    """Import a format's module: `write(request)`, its files' `SUFFIX`, and the `PRECISIONS` that it can write.

    It may name those in which it writes models of `SEQUENCES`, and those that keep a network's `BRANCHES`; without, there are none.

    Raises:
        UserError: if there is no such format, or not in this precision.
        CannotWriteError: if nothing here can check the format's files.
        ImportError: if a package that it needs is not installed.
    """
    known = sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef write(" in path.read_text(encoding="utf-8")
    )
    if name in UNSUPPORTED_FORMATS:
        raise CannotWriteError(UNSUPPORTED_FORMATS[name])
    if name not in known:
        raise UserError(f"expected formats among {', '.join(known)}; got {name!r}; set them in configs/export.yaml")
    writer = importlib.import_module(f"leyden.stages.export.{name}")
    if precision not in writer.PRECISIONS:
        raise UserError(
            f"expected a precision of {name} among {', '.join(writer.PRECISIONS)}; got {precision!r}; set it in configs/export.yaml"
        )
    return writer
