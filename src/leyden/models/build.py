"""Models built for the data: for a training, or from a model file's description and weights."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from leyden.errors import UserError, one_line
from leyden.models.image_model import ImageModel
from leyden.models.network_spec import NetworkSpec
from leyden.models.sequence_model import SequenceModel
from leyden.tasks import CLASSIFICATION
from leyden.trust.network_classes import building_from_file, is_in_library
from leyden.trust.offline import offline

Model = ImageModel | SequenceModel
# Networks replace some layers while they are built: a stem, a head, the layers of a narrowed network.
REPLACED_PARAMETERS_RATIO, REPLACED_PARAMETERS = 10, 1000


def build_model(
    network: NetworkSpec, labels: list[str], input: dict[str, Any], task: Mapping[str, Any] = CLASSIFICATION
) -> Model:
    """Build a network with the preprocessing for its data; only the description of sequences has `features`."""
    model = SequenceModel if "features" in input else ImageModel
    return model(network, labels, input, task)


def rebuild_model(
    description: dict[str, Any],
    weights: dict[str, Tensor],
    path: Path,
    trust: bool = False,
    allowed_class_paths: Iterable[str] = (),
) -> Model:
    """Build the model that a file describes, with its weights, in evaluation mode; nothing is downloaded for it.

    Args:
        description: `network`, `labels`, `input` and `task`, validated by `check_description`.
        weights: The file's tensors by the model's names.
        path: The file.
        trust: Whether the user trusts the file: it may then name any class that can be imported.
        allowed_class_paths: Class paths that the file may name because the user's command line or config does.

    Raises:
        UserError: if the file names code that is not trusted, the model cannot be built, or the weights do not fit it.
    """
    network, labels, input = (description[key] for key in ("network", "labels", "input"))
    task = description.get("task", CLASSIFICATION)
    with building_from_file(path, trust, allowed_class_paths), offline() as refused_addresses:
        try:
            if is_in_library(network["class_path"]):
                check_shapes(description, weights, path)
            model = build_model(network, labels, input, task)
        except Exception as error:  # a network's own code may raise anything on unchecked arguments
            if isinstance(error, UserError) and not refused_addresses:
                raise
            download = f"it tries to download weights from {refused_addresses[0]}" if refused_addresses else ""
            raise UserError(
                f"expected the network {network['class_path']} of {path}; it cannot be built: "
                f"{download or one_line(error, 200)}; "
                "check its class_path and init_args"
            ) from error
    load_weights(model, weights, path)
    return model.eval()


def check_shapes(description: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> None:
    """Check that weights fit a network, before memory is reserved for it: its description may request any size.

    Raises:
        UserError: if they do not fit.
    """
    network, task = description["network"], description.get("task", CLASSIFICATION)
    max_parameters = REPLACED_PARAMETERS_RATIO * len(weights) + REPLACED_PARAMETERS
    try:
        with torch.device("meta"), limited_parameters(max_parameters, network, path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as of layers without weights
            expected = build_model(network, description["labels"], description["input"], task).state_dict()
    except NotImplementedError:  # the network computes with values of tensors, as torchvision's RegNet does
        return
    if difference := find_difference(expected, weights):
        raise misfit(network, path, difference)


@contextmanager
def limited_parameters(limit: int, network: NetworkSpec, path: Path) -> Iterator[None]:
    """Raise UserError once more than `limit` parameters have been registered, with any module."""
    count = 0

    def count_parameter(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise misfit(network, path, "it has far fewer tensors than the network")

    handle = register_module_parameter_registration_hook(count_parameter)
    try:
        yield
    finally:
        handle.remove()


def load_weights(model: Model, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a model.

    Raises:
        UserError: if they belong to a different network, or are not finite.
    """
    expected = model.state_dict()
    state = OrderedDict(weights)
    state._metadata = expected._metadata  # type: ignore[attr-defined] # versions of layers, which files do not store
    try:
        if difference := find_difference(expected, weights, only_kinds=True):
            raise TypeError(difference)  # torch would convert it silently
        model.load_state_dict(state)
    except Exception as error:  # a network may override load_state_dict, and raise anything
        difference = find_difference(expected, weights) or one_line(error, 200)
        raise misfit(model.spec["network"], path, difference) from error
    parameters = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    if invalid := [name for name, value in parameters if has_invalid_values(value, is_learned=True)]:
        raise UserError(
            f"expected finite weights in {path}; {len(invalid)} tensors hold NaN or infinity as the network stores "
            f"them, {invalid[0]} first; train the model again"
        )


def has_invalid_values(value: Tensor, is_learned: bool) -> bool:
    """Return whether a tensor holds NaN or, if it is learned, infinity."""
    if not (value.is_floating_point() or value.is_complex()):
        return False
    value = value.float() if value.element_size() == 1 else value  # torch does not compare 8-bit floats
    return bool((~value.isfinite() if is_learned else value.isnan()).any())


def find_difference(expected: Mapping[str, Any], weights: Mapping[str, Tensor], only_kinds: bool = False) -> str:
    """Describe the first weight that differs from the network's in kind of number or, by default, also name or shape.

    Returns:
        The description, or an empty string if there is no difference.
    """
    shared = [name for name, value in expected.items() if isinstance(value, Tensor) and name in weights]
    for name in shared:
        if (kind := number_kind(weights[name])) != number_kind(expected[name]):
            return f"{name} holds {kind} numbers instead of {number_kind(expected[name])}"
    if only_kinds:
        return ""
    for name in shared:
        if weights[name].shape != expected[name].shape:
            return f"{name} is {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
    missing, unknown = ([*first.keys() - second.keys()] for first, second in ((expected, weights), (weights, expected)))
    return f"it lacks {min(missing)}" if missing else f"it also has {min(unknown)}" if unknown else ""


def number_kind(value: Tensor) -> str:
    return "complex" if value.is_complex() else "floating-point" if value.is_floating_point() else "integer"


def misfit(network: NetworkSpec, path: Path, difference: str) -> UserError:
    return UserError(
        f"expected weights that fit the network; the weights in {path} do not fit {network['class_path']} as it is "
        f"now: {difference}; use the code that trained it, or create the file again"
    )
