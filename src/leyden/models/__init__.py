"""Networks in pure torch, and the LightningModules that train them.

A network is imported when it is first used: `leyden.load` needs torchvision only for a network of torchvision.
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

_HOMES = {
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
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.models' has no attribute {name!r}")
    return getattr(importlib.import_module(f"leyden.models.{_HOMES[name]}"), name)
