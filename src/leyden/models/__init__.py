"""Networks in pure torch, and the LightningModules that train them."""

from leyden.models.gru import GRUClassifier
from leyden.models.resnet import ResNet

__all__ = ["GRUClassifier", "ResNet"]
