"""Predict image or sequence files with a checkpoint or an exported file: `leyden predict`."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from leyden.cost import announce_cost
from leyden.data.listing import LeftOut
from leyden.errors import UserError
from leyden.files import replaced_file, replaced_folder
from leyden.files.names import printable
from leyden.files.outputs import check_no_overlap, check_output, is_stream
from leyden.imaging.images import ImageReader, decoder_limits
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader, Row
from leyden.ranges import check_range
from leyden.runtimes.compatibility import description_of
from leyden.runtimes.load import Predictor, load, run_model
from leyden.stages.predict.inputs import Example, InputFile, collate, list_files, read_example, suffixes_for
from leyden.stages.predict.masks import name_masks, write_mask
from leyden.stages.predict.tables import Format, PredictionTable, check_table, format_of, open_table

NOT_FINITE = "the model's output is NaN or infinite"


def predict(
    model: Path,
    paths: list[Path],
    out: Path | None = None,
    format: Format | None = None,
    top_k: int = 3,
    batch_size: int = 64,
    strict: bool = False,
    trust: bool = False,
) -> None:
    """Write the prediction of every image or sequence, one row per file; for masks, also a PNG file each.

    Args:
        model: A checkpoint or an exported file.
        paths: Images, or sequences (.npy, .csv) for a model of sequences; folders are searched for them. None for a
            LightningModule of your own: its data module reads the data.
        out: File to write, by default predictions.csv. For masks, the folder of the PNG files and of their
            predictions.csv, by default predictions; each has its image's size and the class indices as a palette.
        format: csv, or jsonl: a JSON object for each file, with numbers as numbers. By default, by the suffix of `out`.
        top_k: Number of classes per row, the most probable first.
        batch_size: Number of files per batch.
        strict: Exit with an error if a file could not be read, after writing all rows.
        trust: Load the model even if it runs code (TorchScript, AOTInductor's library, networks that are not from
            leyden, torchvision or timm); files that this project has published do not need it.
    """
    check_range("predict", "[1, inf)", top_k=top_k, batch_size=batch_size)
    predictor = load(model, trust=trust)
    if hasattr(predictor, "predict_step"):  # a LightningModule of the user's
        if paths:
            raise UserError(
                f"expected no paths, since the data module of {model} reads its data; got {paths[0]}; leave them out"
            )
        from leyden.stages.predict.own_module import predict_own_module  # Lightning takes seconds to import

        return predict_own_module(predictor, model, out or Path("predictions.csv"), trust)
    if not paths:
        raise UserError("expected files or folders to predict; got none; name some")
    reader = load_reader(description_of(predictor, model))
    out = out or Path("predictions" if reader.is_dense else f"predictions.{format or 'csv'}")
    format = format or format_of(out)
    if reader.is_dense:
        check_output(out, "predict", [model, *paths])
    else:
        check_no_overlap(out, [model, *(path for path in paths if not path.is_dir())])
        check_table(out, format, reader)
    suffixes, left_out = suffixes_for(predictor), LeftOut()
    files = list_files(paths, suffixes, left_out)
    if out.suffix.lower() in suffixes:  # the next run would read it as an input, if not this one
        check_no_overlap(out, [*paths, *(file.path for file in files)])
    with ExitStack() as stack:
        folder = stack.enter_context(replaced_folder(out, "predict")) if reader.is_dense else None
        table = folder / f"predictions.{format}" if folder else stack.enter_context(replaced_file(out))
        run = Prediction(predictor, reader, files, top_k, folder)
        failures = run.write(table, format, batch_size)
        if NOT_FINITE in failures and len(failures) == len(files):
            raise UserError(
                f"expected finite outputs of {model}; got NaN or infinity for all {failures.count(NOT_FINITE):,} files "
                "that could be read; train or export it again"
            )
    print(
        f"predict: {len(files) - len(failures):,} files predicted, {len(failures):,} failed; "
        f"{f'left out: {left_out}; ' * bool(str(left_out))}written to {printable(str(out))}",
        file=sys.stderr if is_stream(out) else sys.stdout,
    )
    if failures and strict:
        raise UserError(
            f"expected a prediction of every file; {len(failures)} of {len(files)} have none; see the reasons in {out}"
        )


@dataclass
class Prediction:
    """The prediction of files.

    Args:
        predictor: The model.
        reader: Reads its outputs.
        files: What is predicted.
        top_k: Number of classes per row, at most.
        folder: Where masks are written; None for other tasks.
    """

    predictor: Predictor
    reader: OutputReader
    files: Sequence[InputFile]
    top_k: int
    folder: Path | None

    def __post_init__(self) -> None:
        self._mask_names = name_masks(self.files) if self.folder else {}

    def write(self, path: Path, format: Format, batch_size: int) -> list[str]:
        """Append one row per file to a table; return the reason of each file without a prediction."""
        columns = ["mask"] * (self.folder is not None) + self.reader.columns(self.top_k)
        failures = []
        with (
            open_table(path) as file,
            tqdm(total=len(self.files), unit="file", desc="predict", disable=not sys.stderr.isatty()) as progress,
            ThreadPoolExecutor() as pool,
        ):
            table = PredictionTable(file, format, columns, self.reader)
            starts = range(0, len(self.files), batch_size)
            for start in announce_cost(starts, "predict", f"predictions of {len(self.files):,} files"):
                batch = self.files[start : start + batch_size]
                for input_file, (row, error) in zip(batch, self._predict(batch, pool), strict=True):
                    table.write(input_file.path, row, error)
                    failures += [error] if error else []
                progress.update(len(batch))
        return failures

    def _predict(self, files: Sequence[InputFile], pool: ThreadPoolExecutor) -> Iterator[tuple[Row, str]]:
        """Yield the row of each file, in order, and the reason if it has none."""
        with decoder_limits(ImageReader.from_input(self.predictor.input).max_pixels):
            examples = list(pool.map(lambda file: read_example(file.path, self.predictor), files))
        readable = {
            file: example for file, example in zip(files, examples, strict=True) if isinstance(example, Example)
        }
        rows = self._run(readable)
        for file, example in zip(files, examples, strict=True):
            if isinstance(example, str):
                yield {}, example
            else:
                yield rows.get(file, {}), "" if file in rows else NOT_FINITE

    def _run(self, examples: dict[InputFile, Example]) -> dict[InputFile, Row]:
        """Return the rows of examples whose outputs are finite, and write their masks."""
        if not examples:
            return {}
        inputs = collate(self.predictor, [example.values for example in examples.values()])
        outputs = run_model(self.predictor, inputs, len(examples)).numpy()
        is_finite = np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim)))
        finite = [file for file, each in zip(examples, is_finite, strict=True) if each]
        rows = dict(zip(finite, self.reader.rows(outputs[is_finite], self.top_k), strict=True))
        if self.folder:
            for file, mask in zip(finite, self.reader.decide(outputs[is_finite]), strict=True):
                rows[file]["mask"] = self._mask_names[file]
                write_mask(self.folder / self._mask_names[file], mask, examples[file].size, self.reader)
        return rows
