"""The sample data: 1,797 real handwritten digits of 8x8 pixels, as a data set for each task.

Source: scikit-learn's `load_digits` (BSD-3-Clause), a copy of the test set of "Optical Recognition of Handwritten
Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0).
digits.npz holds its `images` (0 to 16) and `labels`.
"""

from pathlib import Path
from typing import Literal

from leyden.errors import UserError
from leyden.files import replaced_folder
from leyden.stages.sample import images, multilabel, ordinal, regression, segmentation, sequences
from leyden.stages.sample.digits import read_digits

WRITERS = {
    "images": images.write,
    "sequences": sequences.write,
    "multilabel": multilabel.write,
    "regression": regression.write,
    "segmentation": segmentation.write,
    "ordinal": ordinal.write,
}


def sample(
    out: Path = Path("data"),
    kind: Literal["images", "sequences", "multilabel", "regression", "segmentation", "ordinal"] = "images",
) -> None:
    """Write sample data for a task: the same bytes on every machine.

    Args:
        out: Folder to create.
        kind: images (classification): PNGs of digits, in a folder for each digit. sequences (classification): .npy
            arrays (T, 3) of the pixels that are not blank, as (row, column, value) from top to bottom, T from 16 to 42.
            multilabel: PNGs of 0 to 3 digits, and manifest.csv of path,labels such as `0;7`. regression: PNGs of
            rotated digits, and manifest.csv of path,target_angle_deg (anticlockwise). segmentation: PNGs of a digit and
            a block, masks of the same names, and classes.csv. ordinal: PNGs of 0 to 4 digits, manifest.csv of
            path,grade, and grades.csv with the grades in order.

    Raises:
        UserError: if the folder exists.
    """
    if out.exists():
        raise UserError(f"expected no {out} yet; it exists already; move it away first, so that nothing is overwritten")
    with replaced_folder(out, "sample", marked=False) as folder:  # it belongs to the user afterwards
        written = WRITERS[kind](read_digits(), folder)
    print(f"sample: wrote {written} to {out}")
