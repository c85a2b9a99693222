"""Where CIFAR-10 lies, as class folders of JPEGs under train/ and test/; the project does not ship it."""

import os
from pathlib import Path

from timing import Skip


def cifar10_folder() -> Path:
    """Give the folder that the environment variable CIFAR10 names.

    Raises:
        Skip: if it names none.
    """
    folder = Path(os.environ.get("CIFAR10", "no-such-folder"))
    if not (folder / "train").is_dir():
        raise Skip("expected CIFAR-10 as train/<class>/*.jpg and test/<class>/*.jpg; set CIFAR10=FOLDER")
    return folder
