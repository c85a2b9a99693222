"""Checkpoints of any LightningModule: rebuilt from the class path and the arguments that they hold."""

import inspect
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from leyden.class_paths import class_paths_of, import_path
from leyden.errors import UserError, describe_error, one_line, own_line, root_cause
from leyden.models.build import find_difference
from leyden.models.checkpoint import read_checkpoint
from leyden.trust.description import CLASS_PATH
from leyden.trust.network_classes import building_from_file, check_class
from leyden.trust.offline import offline

Spec = dict[str, Any]  # {"class_path": "my_package.Net", "init_args": {"width": 32}}
Built = TypeVar("Built", LightningModule, LightningDataModule)


def load_module(
    path: Path, device: str = "cpu", trust: bool = False, allowed_class_paths: Iterable[str] = ()
) -> LightningModule:
    """Rebuild the LightningModule of a checkpoint, with its weights, in evaluation mode; nothing is downloaded for it.

    Args:
        path: The checkpoint.
        device: The device for its weights.
        trust: Whether it may name any class that can be imported.
        allowed_class_paths: Class paths that it may name because the user's command line or config does.

    Raises:
        UserError: if it is damaged, does not fit the current code, or names code that is not trusted.
    """
    checkpoint = read_checkpoint(path)
    if "module" not in checkpoint["leyden"]:
        raise UserError(
            f"expected the checkpoint of a LightningModule other than leyden.SupervisedModule; got {path}; "
            "load it with leyden.load"
        )
    return rebuild_module(checkpoint, path, device, trust, allowed_class_paths)


def rebuild_module(
    checkpoint: dict[str, Any],
    path: Path,
    device: str = "cpu",
    trust: bool = False,
    allowed_class_paths: Iterable[str] = (),
) -> LightningModule:
    """Rebuild the LightningModule of a checkpoint that `read_checkpoint` has read; see `load_module`."""
    spec = checkpoint["leyden"]["module"]
    module = rebuild(spec, LightningModule, path, trust, allowed_class_paths)
    try:
        if is_overridden("configure_model", module):
            module.configure_model()
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
    except Exception as error:  # a module's own code may raise anything
        difference = find_difference(module.state_dict(), checkpoint["state_dict"]) or describe_error(error)
        raise UserError(
            f"expected weights that fit the module; the weights in {path} do not fit {spec['class_path']} as it is "
            f"now: {difference}; use the code that trained it, or train it again"
        ) from error
    return module.eval().to(device)


def load_data_module(path: Path, trust: bool = False, allowed_class_paths: Iterable[str] = ()) -> LightningDataModule:
    """Rebuild the LightningDataModule that a checkpoint of any LightningModule was trained with.

    Raises:
        UserError: if the checkpoint is damaged, does not fit the current code, or names code that is not trusted.
    """
    description = read_checkpoint(path)["leyden"]
    if "data" not in description:
        raise UserError(
            f"expected a checkpoint that names its data; {path} does not; create it again with `leyden fit`"
        )
    return rebuild(description["data"], LightningDataModule, path, trust, allowed_class_paths)


def rebuild(spec: Spec, kind: type[Built], path: Path, trust: bool, allowed_class_paths: Iterable[str]) -> Built:
    """Instantiate the class that a file names with the file's arguments, by the types in its signature.

    Raises:
        UserError: if the file names code that is not trusted, or the class cannot be built.
    """
    class_path = spec["class_path"]
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    with building_from_file(path, trust, allowed_class_paths), chdir(Path.cwd()), offline() as refused_addresses:
        for name in sorted(importable_names(spec)):
            check_class(name)
        try:
            if missing := find_missing(import_path(class_path), spec.get("init_args") or {}):
                raise TypeError(f"its arguments {', '.join(missing)} have no values")
            parser.add_subclass_arguments(kind, "built", required=True, fail_untyped=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                config = parser.parse_object({"built": spec})
                for name in sorted(class_paths_of(config.as_dict())):  # short names have been completed
                    check_class(name)
                return parser.instantiate(config).built
        except Exception as error:  # the user's own code may raise anything
            if isinstance(error, UserError) and not refused_addresses:
                raise
            download = f"it tries to download from {refused_addresses[0]}" if refused_addresses else ""
            root = root_cause(error)
            reason = download or (describe_error(root) if own_line(root) else one_line(error, 200))
            raise UserError(
                f"expected the class {class_path} of {path}; it cannot be built: {reason}; "
                "use the code that trained it, or train it again"
            ) from error


def find_missing(kind: Any, given: Collection[str]) -> list[str]:
    """Return the arguments that have no type, no default and no given value: jsonargparse would pass None for them."""
    return [
        name
        for name, each in inspect.signature(kind).parameters.items()
        if each.default is each.annotation is each.empty
        and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and name not in given
    ]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning from listing devices, from advertising, and from warning of its own dependencies."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def importable_names(value: Any) -> Iterator[str]:
    """Yield every text in a specification that has the form of a class path: a parser might import it."""
    if isinstance(value, dict):
        for each in value.values():
            yield from importable_names(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from importable_names(each)
    elif isinstance(value, str) and CLASS_PATH.fullmatch(value):
        yield value
