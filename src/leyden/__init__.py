"""Leyden: labelled images or sequences in; a trained, evaluated, exported and explained model out.

The public names are imported on first use: `leyden --help` and `leyden prepare` load neither torch nor lightning.
"""

from typing import TYPE_CHECKING

from leyden.class_paths import import_on_first_use
from leyden.trust.telemetry import disable_telemetry

__version__ = "0.1.0"
__all__ = ["ImageData", "SequenceData", "StreamedImageData", "SupervisedModule", "UserError", "load"]

if TYPE_CHECKING:
    from leyden.data.datamodule import ImageData
    from leyden.data.sequence_data import SequenceData
    from leyden.data.streaming import StreamedImageData
    from leyden.errors import UserError
    from leyden.runtimes.load import load
    from leyden.training.supervised_module import SupervisedModule

disable_telemetry()

__getattr__ = import_on_first_use(
    __name__,
    {
        "SupervisedModule": "leyden.training.supervised_module",
        "ImageData": "leyden.data.datamodule",
        "SequenceData": "leyden.data.sequence_data",
        "StreamedImageData": "leyden.data.streaming",
        "UserError": "leyden.errors",
        "load": "leyden.runtimes.load",
    },
)
