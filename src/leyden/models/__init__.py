"""Networks in pure PyTorch, models that add preprocessing and labels to them, and the checkpoint format.

Networks are imported on first use: `leyden.load` needs torchvision only for torchvision's networks.
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "EarlyExitNet",
    "FastCNN",
    "GRUClassifier",
    "PatchTransformer",
    "ResNet",
    "SwitchingClassifier",
    "TorchvisionNet",
    "TransformerClassifier",
]

if TYPE_CHECKING:
    from leyden.models.early_exit import EarlyExitNet
    from leyden.models.fast_cnn import FastCNN
    from leyden.models.gru import GRUClassifier
    from leyden.models.patch_transformer import PatchTransformer
    from leyden.models.resnet import ResNet
    from leyden.models.sequence_transformer import TransformerClassifier
    from leyden.models.switching import SwitchingClassifier
    from leyden.models.torchvision_net import TorchvisionNet

_MODULES = {
    "EarlyExitNet": "early_exit",
    "FastCNN": "fast_cnn",
    "GRUClassifier": "gru",
    "PatchTransformer": "patch_transformer",
    "ResNet": "resnet",
    "SwitchingClassifier": "switching",
    "TorchvisionNet": "torchvision_net",
    "TransformerClassifier": "sequence_transformer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'leyden.models' has no attribute {name!r}")
    return getattr(importlib.import_module(f"leyden.models.{_MODULES[name]}"), name)
