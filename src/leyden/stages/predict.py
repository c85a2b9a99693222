"""Name what images show: any images and folders, by a checkpoint or an exported file."""

import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from leyden.data.images import SUFFIXES, UnreadableImageError, find_files, read_image
from leyden.errors import UserError
from leyden.files import replaced_file
from leyden.models.load import Predictor, load, predict_logits

Row = list[str]


def predict(model: Path, paths: list[Path], out: Path = Path("predictions.csv"), top_k: int = 3, batch_size: int = 64, strict: bool = False) -> None:
    """Write the label, confidence and runners-up of every image, one row per file.

    Args:
        model: A checkpoint (.ckpt) or an exported file (.onnx, .pt2).
        paths: Images, and folders that are searched for images.
        out: CSV file to write.
        top_k: Labels per row, the best first.
        batch_size: Images at a time.
        strict: End with an error if any file was unreadable, after writing all rows.
    """
    predictor = load(model)
    files = [file for path in paths for file in expand(path)]
    if not files:
        raise UserError(f"expected images; found none in {', '.join(map(str, paths))} ({', '.join(sorted(SUFFIXES))})")
    top_k = min(top_k, len(predictor.labels))
    failed = 0
    with replaced_file(out) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *(name for rank in range(1, top_k + 1) for name in column_names(rank)), "error"])
        with tqdm(total=len(files), unit="image", desc="predict", disable=not sys.stderr.isatty()) as bar, ThreadPoolExecutor() as pool:
            for start in range(0, len(files), batch_size):
                batch = files[start : start + batch_size]
                rows = list(predict_rows(predictor, batch, top_k, pool))
                writer.writerows(rows)
                failed += sum(bool(row[-1]) for row in rows)
                bar.update(len(batch))
    print(f"predict: {len(files) - failed:,} images named, {failed} unreadable; {out} written")
    if failed and strict:
        raise UserError(f"expected every file to be a readable image; {failed} of {len(files)} are not; their reasons are in {out}")


def expand(path: Path) -> list[Path]:
    """List a folder's image files; a file is taken by its word, and judged when it is read."""
    return [file for file in find_files(path) if file.suffix.lower() in SUFFIXES] if path.is_dir() else [path]


def column_names(rank: int) -> list[str]:
    return ["prediction", "confidence"] if rank == 1 else [f"prediction_{rank}", f"confidence_{rank}"]


def predict_rows(predictor: Predictor, files: list[Path], top_k: int, pool: ThreadPoolExecutor) -> Iterator[Row]:
    """Give one row per file, in order: labels and confidences, or the reason why there are none."""
    images = list(pool.map(lambda file: read(file, predictor), files))
    readable = [image for image in images if isinstance(image, np.ndarray)]
    scores = iter(predict_logits(predictor, np.stack(readable), len(readable)).softmax(1) if readable else torch.empty(0))
    for file, image in zip(files, images, strict=True):
        if isinstance(image, str):
            yield [str(file), *[""] * (2 * top_k), image]
            continue
        best = next(scores).topk(top_k)
        named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        yield [str(file), *(cell for index, value in named for cell in (predictor.labels[index], f"{value:.6f}")), ""]


def read(file: Path, predictor: Predictor) -> np.ndarray | str:
    """Read an image as `leyden prepare` does, or give the reason why it cannot be read."""
    try:
        return read_image(file, predictor.channels, predictor.image_size)
    except UnreadableImageError as error:
        return str(error)
