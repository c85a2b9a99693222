"""The location of CIFAR-10, as class folders of JPEGs under train/ and test/; the project does not include it."""

import os
from pathlib import Path

from timing import Skip


def cifar10_folder() -> Path:
    """Return the folder named by the environment variable CIFAR10.

    Raises:
        Skip: if it does not name one.
    """
    folder = Path(os.environ.get("CIFAR10", "no-such-folder"))
    if not (folder / "train").is_dir():
        raise Skip("expected CIFAR-10 as train/<class>/*.jpg and test/<class>/*.jpg; set CIFAR10=FOLDER")
    return folder
