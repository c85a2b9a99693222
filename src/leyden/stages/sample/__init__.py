"""The sample data: 1,797 real handwritten digits of 8x8 pixels, written out as PNGs in class folders.

Source: scikit-learn's `load_digits` (BSD-3-Clause), a copy of the test set of "Optical Recognition of Handwritten Digits",
E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0).
digits.npz holds its `images` (0 to 16) and `labels`.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from leyden.errors import UserError
from leyden.files import replaced_folder


def sample(out: Path = Path("data")) -> None:
    """Write the sample data, the same bytes everywhere.

    Args:
        out: Folder to make, with a folder per digit.
    """
    if out.exists():
        raise UserError(f"expected no {out} yet; it is there; move it away first, so that nothing of yours is lost")
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    pixels = np.round(images.astype(np.float64) * (255 / 16)).astype(np.uint8)
    with replaced_folder(out) as folder:
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            path = folder / str(label) / f"{number:04d}.png"
            path.parent.mkdir(exist_ok=True)
            # Stored, not compressed: compressed bytes differ between builds of zlib, and so would the hash in data.dvc.
            Image.fromarray(image).save(path, compress_level=0)
    print(f"sample: wrote {len(images):,} images in {len(set(labels.tolist()))} classes to {out}")
