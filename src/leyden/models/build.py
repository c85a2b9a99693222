"""Models built for the data: for a training, or from a model file's description."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leyden.errors import UserError, one_line
from leyden.models.image_model import ImageModel
from leyden.models.network_spec import NetworkSpec
from leyden.models.sequence_model import SequenceModel
from leyden.trust.network_classes import building_from_file
from leyden.trust.offline import offline

Model = ImageModel | SequenceModel


def build_model(network: NetworkSpec, labels: list[str], input: dict[str, Any]) -> Model:
    """Build a network with the preprocessing for its data; only the description of sequences has `features`."""
    return SequenceModel(network, labels, input) if "features" in input else ImageModel(network, labels, input)


def rebuild_model(
    description: dict[str, Any], path: Path, trust: bool = False, allowed_class_paths: Iterable[str] = ()
) -> Model:
    """Build the model that a file describes, without its weights; nothing is downloaded, whatever the file requests.

    Args:
        description: `network`, `labels` and `input`, validated by `check_description`.
        path: The file.
        trust: Whether the user trusts the file: it may then name any class that can be imported.
        allowed_class_paths: Class paths that the file may name because the user's command line or config does.

    Raises:
        UserError: if the file names code that is not trusted, or the model cannot be built.
    """
    network, labels, input = (description[key] for key in ("network", "labels", "input"))
    with building_from_file(path, trust, allowed_class_paths), offline() as refused_addresses:
        try:
            return build_model(network, labels, input)
        except UserError:
            raise
        except Exception as error:  # a network's own code may raise anything on unchecked arguments
            download = f"it tries to download weights from {refused_addresses[0]}" if refused_addresses else ""
            raise UserError(
                f"expected the network {network['class_path']} of {path}; it cannot be built: "
                f"{download or one_line(error, 200)}; "
                "check its class_path and init_args"
            ) from error
