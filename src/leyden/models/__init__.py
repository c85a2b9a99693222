"""Networks in pure torch, and the LightningModules that train them."""

from leyden.models.resnet import ResNet

__all__ = ["ResNet"]
