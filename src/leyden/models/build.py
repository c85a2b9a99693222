"""Which model the data asks for."""

from typing import Any

from leyden.models.image_model import ImageModel, NetworkSpec
from leyden.models.sequence_model import SequenceModel

Model = ImageModel | SequenceModel


def build_model(network: NetworkSpec, labels: list[str], input: dict[str, Any]) -> Model:
    """Build a network with the preprocessing that its data needs: images have an `image_size`, sequences have `features`."""
    return SequenceModel(network, labels, input) if "features" in input else ImageModel(network, labels, input)
