"""Leyden: labelled images in; a trained, evaluated, exported, checked and explained model out.

The public names are imported on first use, because `leyden --help` and `leyden prepare` need neither torch nor
lightning.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Classifier", "ImageData", "SequenceData", "StreamedImageData", "UserError", "load"]

if TYPE_CHECKING:
    from leyden.data.datamodule import ImageData
    from leyden.data.sequence_data import SequenceData
    from leyden.data.streaming import StreamedImageData
    from leyden.errors import UserError
    from leyden.runtimes.load import load
    from leyden.training.classifier import Classifier

_MODULES = {
    "Classifier": "leyden.training.classifier",
    "ImageData": "leyden.data.datamodule",
    "SequenceData": "leyden.data.sequence_data",
    "StreamedImageData": "leyden.data.streaming",
    "UserError": "leyden.errors",
    "load": "leyden.runtimes.load",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'leyden' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
