"""Which model the data asks for, built for a training or from what a file says."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leyden.errors import UserError
from leyden.models.image_model import ImageModel, NetworkSpec
from leyden.models.sequence_model import SequenceModel
from leyden.trust.network_classes import building_from_file
from leyden.trust.offline import offline

Model = ImageModel | SequenceModel


def build_model(network: NetworkSpec, labels: list[str], input: dict[str, Any]) -> Model:
    """Build a network with the preprocessing that its data needs: images have an `image_size`, sequences have `features`."""
    return SequenceModel(network, labels, input) if "features" in input else ImageModel(network, labels, input)


def rebuild_model(
    description: dict[str, Any], path: Path, trust: bool = False, allowed_class_paths: Iterable[str] = ()
) -> Model:
    """Build the model that a file describes, without its weights; nothing is downloaded, whatever the file asks for.

    Args:
        description: `network`, `labels` and `input`, which `check_description` has found in order.
        path: The file.
        trust: Whether the user trusts the file: it may then name any class that can be imported.
        allowed_class_paths: Class paths that the user's command line or config names.

    Raises:
        UserError: if it names code that is not trusted, or cannot be built.
    """
    network, labels, input = (description[key] for key in ("network", "labels", "input"))
    with building_from_file(path, trust, allowed_class_paths), offline() as attempted:
        try:
            return build_model(network, labels, input)
        except UserError:
            raise
        except Exception as error:  # whatever a network's own code meets in arguments that nobody checked
            reason = f"it asks {attempted[0]} for weights" if attempted else " ".join(str(error).split())[:200]
            raise UserError(
                f"expected the network {network['class_path']} of {path}; it cannot be built: {reason}"
            ) from error
