"""Predict the labels of image or sequence files with a checkpoint or an exported file: `leyden predict`."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from leyden.cost import announce_cost
from leyden.data.listing import LeftOut, find_files
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.data.sequences import Sequences, UnreadableSequenceError, read_sequence
from leyden.errors import UserError, one_line
from leyden.files import replaced_file
from leyden.files.names import printable
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.files.regular_files import read_regular_file
from leyden.files.tables import TableWriter
from leyden.imaging.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.imaging.images import ImageReader, UnreadableImageError, decoder_limits, read_image
from leyden.ranges import check_range
from leyden.runtimes.load import Predictor, SliceableExamples, calibrated, load, run_model

RANKED_COLUMNS = ("prediction", "confidence")  # repeated with _2, _3, ... for the next labels
NOT_FINITE = "the model's output is NaN or infinite"


def predict(
    model: Path,
    paths: list[Path],
    out: Path = Path("predictions.csv"),
    top_k: int = 3,
    batch_size: int = 64,
    strict: bool = False,
    trust: bool = False,
) -> None:
    """Write the most probable labels of every image or sequence, with their confidence, one row per file.

    Args:
        model: A checkpoint or an exported file.
        paths: Images, or sequences (.npy, .csv) for a model of sequences; folders are searched for them.
        out: CSV file to write.
        top_k: Number of labels per row, the most probable first.
        batch_size: Number of files per batch.
        strict: Exit with an error if a file could not be read, after writing all rows.
        trust: Load the model even if it runs code (TorchScript, AOTInductor's library, networks that are not from
            leyden, torchvision or timm); files that this project has published do not need it.
    """
    check_range("predict", "[1, inf)", top_k=top_k, batch_size=batch_size)
    check_no_overlap(out, [model, *(path for path in paths if not path.is_dir())])
    check_file(out, start=b"path,prediction,confidence,")
    predictor = load(model, trust=trust)
    suffixes = SEQUENCE_SUFFIXES if is_sequence_model(predictor) else IMAGE_SUFFIXES
    left_out = LeftOut()
    files = [file for path in paths for file in list_files(path, suffixes, left_out)]
    if not files:
        raise UserError(
            f"expected files of {', '.join(sorted(suffixes))}; found none in {', '.join(map(str, paths))}; "
            f"{f'left out: {left_out}; ' * bool(str(left_out))}name others"
        )
    if out.suffix.lower() in suffixes:  # the next run would read it as an input, if not this one
        check_no_overlap(out, [*paths, *files])
    with replaced_file(out) as partial:
        failures = write_predictions(partial, predictor, files, min(top_k, len(predictor.labels)), batch_size)
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


def is_sequence_model(predictor: Any) -> bool:
    return hasattr(predictor, "features")


def list_files(path: Path, suffixes: frozenset[str], left_out: LeftOut) -> list[Path]:
    """List a folder's files with one of the suffixes; a path that is no folder is returned, whatever its suffix."""
    if not path.is_dir():
        return [path]
    files = []
    try:
        for file in find_files(path, left_out):
            if file.suffix.lower() in suffixes:
                files.append(file)
            else:
                left_out.add_unknown(str(file), "supported by this model")
    except OSError as error:
        raise UserError(
            f"expected to read {error.filename or path}; got: {error.strerror}; fix its permissions or leave it out"
        ) from error
    return files


def write_predictions(path: Path, predictor: Predictor, files: list[Path], top_k: int, batch_size: int) -> list[str]:
    """Append a header and one row per file to a CSV file; return the reason of each file without a prediction."""
    columns = [name if rank == 1 else f"{name}_{rank}" for rank in range(1, top_k + 1) for name in RANKED_COLUMNS]
    failures = []
    with (
        open(path, "a", newline="", encoding="utf-8") as file,
        tqdm(total=len(files), unit="file", desc="predict", disable=not sys.stderr.isatty()) as progress,
        ThreadPoolExecutor() as pool,
    ):
        writer = TableWriter(file)
        writer.writerow(["path", *columns, "error"])
        starts = range(0, len(files), batch_size)
        for start in announce_cost(starts, "predict", f"predictions of {len(files):,} files"):
            batch = files[start : start + batch_size]
            rows = list(predict_rows(predictor, batch, top_k, pool))
            for row in rows:
                writer.writerow(row)
            failures += [row[-1] for row in rows if row[-1]]
            progress.update(len(batch))
    return failures


def predict_rows(predictor: Predictor, files: list[Path], top_k: int, pool: ThreadPoolExecutor) -> Iterator[list[str]]:
    """Yield one row per file, in order: labels and confidences, or the reason why there are none."""
    with decoder_limits(ImageReader.from_input(predictor.input).max_pixels):
        examples = list(pool.map(lambda file: read_example(file, predictor), files))
    readable = [example for example in examples if isinstance(example, np.ndarray)]
    logits = run_model(predictor, collate(predictor, readable), len(readable)) if readable else torch.empty(0, 1)
    all_probabilities = iter(calibrated(predictor, logits).softmax(dim=1))
    for file, example in zip(files, examples, strict=True):
        if isinstance(example, str):
            cells, error = [""] * (2 * top_k), example
        elif not (probabilities := next(all_probabilities)).isfinite().all():
            cells, error = [""] * (2 * top_k), NOT_FINITE
        else:
            best = zip(*(part.tolist() for part in probabilities.topk(top_k)), strict=True)
            cells = [cell for value, index in best for cell in (predictor.labels[index], f"{value:.6f}")]
            error = ""
        yield [str(file), *cells, error]


def collate(predictor: Predictor, examples: list[np.ndarray]) -> SliceableExamples:
    if is_sequence_model(predictor):
        return Sequences(np.concatenate(examples), np.cumsum([0, *map(len, examples)]))
    return np.stack(examples)


def read_example(file: Path, predictor: Any) -> np.ndarray | str:
    """Read an image or a sequence as `leyden prepare` does, or return the reason why it cannot be read."""
    try:
        if not is_sequence_model(predictor):
            reader = ImageReader.from_input(predictor.input)
            return read_image(file, predictor.channels, predictor.image_size, reader)
        values, _ = read_sequence(read_regular_file(file))
    except (UnreadableImageError, UnreadableSequenceError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # readers raise almost any exception on bytes that they do not expect
        return f"{type(error).__name__}: {one_line(error)}"
    if values.shape[1] != predictor.features:
        return f"{values.shape[1]} features; the model expects {predictor.features}"
    return values
