"""Networks in pure PyTorch, models that add preprocessing and labels to them, and the checkpoint format.

Networks are imported on first use: `leyden.load` needs torchvision only for torchvision's networks.
"""

from typing import TYPE_CHECKING

from leyden.class_paths import import_on_first_use

__all__ = [
    "EarlyExitNet",
    "FastCNN",
    "GRUClassifier",
    "PatchTransformer",
    "ResNet",
    "SwitchingClassifier",
    "TimmNet",
    "TorchvisionNet",
    "TransformerClassifier",
    "UNet",
]

if TYPE_CHECKING:
    from leyden.models.early_exit import EarlyExitNet
    from leyden.models.fast_cnn import FastCNN
    from leyden.models.gru import GRUClassifier
    from leyden.models.patch_transformer import PatchTransformer
    from leyden.models.resnet import ResNet
    from leyden.models.sequence_transformer import TransformerClassifier
    from leyden.models.switching import SwitchingClassifier
    from leyden.models.timm_net import TimmNet
    from leyden.models.torchvision_net import TorchvisionNet
    from leyden.models.unet import UNet

__getattr__ = import_on_first_use(
    __name__,
    {
        "EarlyExitNet": "leyden.models.early_exit",
        "FastCNN": "leyden.models.fast_cnn",
        "GRUClassifier": "leyden.models.gru",
        "PatchTransformer": "leyden.models.patch_transformer",
        "ResNet": "leyden.models.resnet",
        "SwitchingClassifier": "leyden.models.switching",
        "TimmNet": "leyden.models.timm_net",
        "TorchvisionNet": "leyden.models.torchvision_net",
        "TransformerClassifier": "leyden.models.sequence_transformer",
        "UNet": "leyden.models.unet",
    },
)
