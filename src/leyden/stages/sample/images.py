"""Classification of images: a folder of PNGs per digit."""

from pathlib import Path

from leyden.stages.sample.digits import Digits, write_png


def write(digits: Digits, folder: Path) -> str:
    """Write each digit, and return what was written; so do the other kinds."""
    for index, (image, label) in enumerate(zip(*digits, strict=True)):
        write_png(image, folder / str(label) / f"{index:04d}.png")
    return f"{len(digits.images):,} images in {len(set(digits.labels.tolist()))} classes"
