"""Name what images show, or what sequences are: any files and folders, by a checkpoint or an exported file."""

import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from leyden.data.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.data.images import UnreadableImageError, find_files, read_image
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.data.sequences import Sequences, UnreadableSequenceError, read_sequence
from leyden.errors import UserError
from leyden.files import replaced_file
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.runtimes.load import Predictor, SliceableExamples, calibrated, load, run_model

Row = list[str]
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
    """Write the label, confidence and runners-up of every image or sequence, one row per file.

    Args:
        model: A checkpoint or an exported file.
        paths: Images, or sequences (.npy, .csv) for a model of these; and folders that are searched for them.
        out: CSV file to write.
        top_k: Labels per row, the best first.
        batch_size: Files at a time.
        strict: End with an error if any file was unreadable, after writing all rows.
        trust: Load the model even if it runs code (TorchScript, AOTInductor's library, networks that are not of leyden, torchvision or
            timm); files that this project has published do not need it.
    """
    check_file(out)
    check_no_overlap(out, [model, *(path for path in paths if not path.is_dir())])
    predictor = load(model, trust=trust)
    suffixes = SEQUENCE_SUFFIXES if takes_sequences(predictor) else IMAGE_SUFFIXES
    files = [file for path in paths for file in expand(path, suffixes)]
    if not files:
        raise UserError(
            f"expected files of {', '.join(sorted(suffixes))}; found none in {', '.join(map(str, paths))}; name others"
        )
    if out.suffix.lower() in suffixes:  # it would be read the next time, if not now
        check_no_overlap(out, [*paths, *files])
    top_k = min(top_k, len(predictor.labels))
    failed = not_finite = 0
    with replaced_file(out) as partial, open(partial, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *(name for rank in range(1, top_k + 1) for name in column_names(rank)), "error"])
        with (
            tqdm(total=len(files), unit="file", desc="predict", disable=not sys.stderr.isatty()) as bar,
            ThreadPoolExecutor() as pool,
        ):
            for start in range(0, len(files), batch_size):
                batch = files[start : start + batch_size]
                rows = list(predict_rows(predictor, batch, top_k, pool))
                writer.writerows(rows)
                failed += sum(bool(row[-1]) for row in rows)
                not_finite += sum(row[-1] == NOT_FINITE for row in rows)
                bar.update(len(batch))
        if not_finite and failed == len(files):
            raise UserError(
                f"expected finite outputs of {model}; got NaN or infinity for all {not_finite:,} files that could be read; train or export it again"
            )
    summary = f"predict: {len(files) - failed:,} files named, {failed} unreadable; {out} written"
    print(summary, file=sys.stderr if is_stream(out) else sys.stdout)
    if failed and strict:
        raise UserError(
            f"expected every file to be readable; {failed} of {len(files)} are not; their reasons are in {out}"
        )


def takes_sequences(predictor: Any) -> bool:
    return hasattr(predictor, "features")


def expand(path: Path, suffixes: frozenset[str]) -> list[Path]:
    """List a folder's files of some kind; a file is taken by its word, and judged when it is read.

    Raises:
        UserError: if a folder cannot be read.
    """
    try:
        return [file for file in find_files(path) if file.suffix.lower() in suffixes] if path.is_dir() else [path]
    except OSError as error:
        raise UserError(
            f"expected to read {error.filename or path}; got: {error.strerror}; mend its permissions or leave it out"
        ) from error


def column_names(rank: int) -> list[str]:
    return ["prediction", "confidence"] if rank == 1 else [f"prediction_{rank}", f"confidence_{rank}"]


def predict_rows(predictor: Predictor, files: list[Path], top_k: int, pool: ThreadPoolExecutor) -> Iterator[Row]:
    """Give one row per file, in order: labels and confidences, or the reason why there are none."""
    examples = list(pool.map(lambda file: read(file, predictor), files))
    readable = [example for example in examples if isinstance(example, np.ndarray)]
    logits = run_model(predictor, together(predictor, readable), len(readable)) if readable else torch.empty(0, 1)
    scores = iter(calibrated(predictor, logits).softmax(1))
    for file, example in zip(files, examples, strict=True):
        found = next(scores) if isinstance(example, np.ndarray) else None
        if found is None or not found.isfinite().all():
            yield [str(file), *[""] * (2 * top_k), NOT_FINITE if found is not None else str(example)]
            continue
        best = found.topk(top_k)
        named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        yield [str(file), *(cell for index, value in named for cell in (predictor.labels[index], f"{value:.6f}")), ""]


def together(predictor: Predictor, examples: list[np.ndarray]) -> SliceableExamples:
    if not takes_sequences(predictor):
        return np.stack(examples)
    return Sequences(np.concatenate(examples), np.cumsum([0, *map(len, examples)]))


def read(file: Path, predictor: Any) -> np.ndarray | str:
    """Read an image or a sequence as `leyden prepare` does, or give the reason why it cannot be read."""
    try:
        if not takes_sequences(predictor):
            return read_image(file, predictor.channels, predictor.image_size)
        values, _ = read_sequence(file.read_bytes())
    except (UnreadableImageError, UnreadableSequenceError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return (
        values
        if values.shape[1] == predictor.features
        else f"{values.shape[1]} features, where the model takes {predictor.features}"
    )
