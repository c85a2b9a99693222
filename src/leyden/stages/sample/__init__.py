"""The sample data: 1,797 real handwritten digits of 8x8 pixels, written as PNGs or sequences in class folders.

Source: scikit-learn's `load_digits` (BSD-3-Clause), a copy of the test set of "Optical Recognition of Handwritten
Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0).
digits.npz holds its `images` (0 to 16) and `labels`.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from leyden.errors import UserError
from leyden.files import replaced_folder


def sample(out: Path = Path("data"), kind: Literal["images", "sequences"] = "images") -> None:
    """Write the sample data, the same bytes everywhere.

    Args:
        out: Folder to create, with a folder per digit.
        kind: images are PNGs; sequences are .npy arrays (T, 3) of the pixels that are not blank, as (row, column,
            value) from top to bottom, T from 16 to 42.

    Raises:
        UserError: if the folder exists.
    """
    if out.exists():
        raise UserError(f"expected no {out} yet; it exists already; move it away first, so that nothing is overwritten")
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    pixels = np.round(images.astype(np.float64) * (255 / 16)).astype(np.uint8)
    with replaced_folder(out, "sample", marked=False) as folder:  # it belongs to the user afterwards
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            path = folder / str(label) / f"{index:04d}.{'png' if kind == 'images' else 'npy'}"
            path.parent.mkdir(exist_ok=True)
            if kind == "images":
                # Not compressed: builds of zlib compress differently, which would change the hash in data.dvc.
                Image.fromarray(image).save(path, compress_level=0)
            else:
                np.save(path, np.column_stack([*np.nonzero(image), image[image > 0]]).astype(np.float32))
    print(f"sample: wrote {len(images):,} {kind} in {len(set(labels.tolist()))} classes to {out}")
