"""Networks built from a specification: a class path and its arguments."""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import nn

from leyden.class_paths import import_path
from leyden.errors import UserError, did_you_mean, one_line
from leyden.trust.network_classes import check_network_class, current_source

NetworkSpec = dict[str, Any]  # {"class_path": "leyden.models.ResNet", "init_args": {"width": 32}}
DOWNLOADING_LIBRARIES = ("torchvision.", "timm.")
# Their arguments that request pretrained weights, with the values that request none.
NOT_PRETRAINED = {
    "weights": None,
    "weights_backbone": None,
    "pretrained": False,
    "pretrained_backbone": False,
    "checkpoint_path": "",
}


def build_network(
    spec: NetworkSpec, data_args: dict[str, Any], required: Sequence[str] = ("num_classes",)
) -> tuple[nn.Module, set[str]]:
    """Build a network from its specification and those arguments from the data that its signature accepts.

    Args:
        spec: `class_path` and `init_args` of any torch module, or of a function that returns one.
        data_args: Arguments that the data determines: `num_classes`, `in_channels`, `image_size` or `in_features`.
        required: The `data_args` that the network must accept.

    Returns:
        The network, and the names of the `data_args` that it accepted (one without `in_channels` accepts RGB only).

    Raises:
        UserError: if the class path is not a torch module, or an argument is unknown or missing.
    """
    if not spec:
        raise UserError("expected a network; got null; set network.class_path in configs/train.yaml")
    constructor = import_network(spec["class_path"])
    parameters = inspect.signature(constructor).parameters
    accepts_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    args = list_arguments(spec, parameters, accepts_any)
    accepted = {
        name: value
        for name, value in data_args.items()
        if name in parameters or (name == "num_classes" and accepts_any)
    }
    if missing := [name for name in required if name not in accepted]:
        raise UserError(
            f"expected a network with an argument {missing[0]}; {spec['class_path']} has none; "
            "wrap it in a class that has one"
        )
    network = construct(constructor, spec["class_path"], args | accepted)
    if spec["class_path"].startswith("torchvision."):
        from leyden.models.torchvision_segmentation import adapt_segmentation

        if adapted := adapt_segmentation(network, data_args["in_channels"], args):
            return adapted, {*accepted, "in_channels"}
    return network, set(accepted)


def construct(constructor: Callable[..., nn.Module], class_path: str, args: dict[str, Any]) -> nn.Module:
    """Call a network's constructor.

    Raises:
        UserError: if it fails, or returns something else.
    """
    try:
        network = constructor(**args)
    except UserError:
        raise
    except Exception as error:  # a network's own code may raise anything on unchecked arguments
        source = current_source.get()
        raise UserError(
            f"expected arguments that fit {class_path}; it cannot be built: {one_line(error, 200)}; "
            + (f"create {source.path} again" if source else "see `network` in configs/train.yaml")
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"expected a torch.nn.Module from {class_path}; got {type(network).__name__}; correct its code")
    return network


def list_arguments(spec: NetworkSpec, parameters: Collection[str], accepts_any: bool) -> dict[str, Any]:
    """Return the `init_args`, in which only those that the user set request pretrained weights.

    A model file holds all weights: building its network must not start a download.

    Raises:
        UserError: if an argument is unknown.
    """
    args = dict(spec.get("init_args") or {})
    if spec["class_path"].startswith(DOWNLOADING_LIBRARIES):
        not_pretrained = {key: value for key, value in NOT_PRETRAINED.items() if key in parameters or key in args}
        args = args | not_pretrained if current_source.get() else not_pretrained | args
    for key in args:
        if key not in parameters and not accepts_any:
            raise UserError(
                f"expected an argument of {spec['class_path']}; got {key!r}{did_you_mean(key, parameters)}; "
                f"use one of {', '.join(parameters)}"
            )
    return args


def import_network(class_path: str) -> Callable[..., nn.Module]:
    """Import a torch module's class, or a function annotated to return one; a checkpoint must not call anything else.

    Raises:
        UserError: if the path leads to anything else, or if it comes from a file that is not trusted.
    """
    check_network_class(class_path)
    try:
        constructor = import_path(class_path)
    except ImportError as error:
        raise UserError(
            f"expected the path of a network class; {class_path!r} cannot be imported ({error}); check class_path"
        ) from error
    is_class = inspect.isclass(constructor)
    built = constructor if is_class else getattr(constructor, "__annotations__", {}).get("return")
    if not (inspect.isclass(built) and issubclass(built, nn.Module)):
        raise UserError(
            f"expected a torch.nn.Module, or a function annotated to return one; {class_path!r} is neither; "
            "check class_path"
        )
    return constructor
