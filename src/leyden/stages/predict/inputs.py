"""The files to predict, and what is read from them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leyden.data.listing import LeftOut, find_files
from leyden.data.packed import MANIFEST
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.data.sequences import Sequences, UnreadableSequenceError, read_sequence
from leyden.errors import UserError, one_line
from leyden.files.regular_files import read_regular_file
from leyden.imaging.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.imaging.images import ImageReader, UnreadableImageError, as_unreadable, decode, to_array
from leyden.runtimes.load import Predictor, SliceableExamples


class InputFile(NamedTuple):
    """A file to predict, and its name relative to the folder that was searched."""

    path: Path
    name: Path


class Example(NamedTuple):
    """An image uint8 (H, W, C) in the model's size, or a sequence float32 (T, F); and the size of the image's file."""

    values: np.ndarray
    size: tuple[int, int]  # upright: height and width in pixels


def is_sequence_model(predictor: Any) -> bool:
    return hasattr(predictor, "features")


def suffixes_for(predictor: Predictor) -> frozenset[str]:
    """Return the suffixes of the files that are searched for in folders."""
    return SEQUENCE_SUFFIXES if is_sequence_model(predictor) else IMAGE_SUFFIXES


def list_files(paths: Sequence[Path], suffixes: frozenset[str], left_out: LeftOut) -> list[InputFile]:
    """List the files of folders with one of the suffixes; a path that is no folder is listed, whatever its suffix.

    Raises:
        UserError: if there are none, or a folder cannot be read.
    """
    files = [file for path in paths for file in list_path(path, suffixes, left_out)]
    if not files:
        raise UserError(
            f"expected files of {', '.join(sorted(suffixes))}; found none in {', '.join(map(str, paths))}; "
            f"{f'left out: {left_out}; ' * bool(str(left_out))}name others"
        )
    return files


def list_path(path: Path, suffixes: frozenset[str], left_out: LeftOut) -> Iterator[InputFile]:
    if not path.is_dir():
        yield InputFile(path, Path(path.name))
        return
    try:
        for file in find_files(path, left_out):
            if file.name.lower() == MANIFEST:
                left_out.add(f"{MANIFEST}, which names the data", str(file))
            elif file.suffix.lower() in suffixes:
                yield InputFile(file, file.relative_to(path))
            else:
                left_out.add_unknown(str(file), "supported by this model")
    except OSError as error:
        raise UserError(
            f"expected to read {error.filename or path}; got: {error.strerror}; fix its permissions or leave it out"
        ) from error


def read_example(file: Path, predictor: Any) -> Example | str:
    """Read an image or a sequence as `leyden prepare` does, or return the reason why it cannot be read."""
    try:
        if not is_sequence_model(predictor):
            return read_image_example(file, predictor)
        values, _ = read_sequence(read_regular_file(file))
    except (UnreadableImageError, UnreadableSequenceError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # readers raise almost any exception on bytes that they do not expect
        return f"{type(error).__name__}: {one_line(error)}"
    if values.shape[1] != predictor.features:
        return f"{values.shape[1]} features; the model expects {predictor.features}"
    return Example(values, (0, 0))


def read_image_example(file: Path, predictor: Any) -> Example:
    image = decode(file, ImageReader.from_input(predictor.input)).image
    try:
        return Example(to_array(image, predictor.channels, predictor.image_size), (image.height, image.width))
    except Exception as error:  # out of memory
        raise as_unreadable(error) from error


def collate(predictor: Predictor, examples: Sequence[np.ndarray]) -> SliceableExamples:
    if is_sequence_model(predictor):
        return Sequences(np.concatenate(examples), np.cumsum([0, *map(len, examples)]))
    return np.stack(examples)
