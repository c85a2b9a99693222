"""Class paths (`package.module.Name`): how they are collected from configs, and imported."""

import importlib
from collections.abc import Callable
from typing import Any


def import_path(path: str) -> Any:
    """Import a class, a function or another attribute of a module.

    Raises:
        ImportError: if the path has no module, the module or its attribute does not exist, or the module's code fails.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise ImportError(f"{path!r} is not of the form package.module.Name")
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise
    except (Exception, SystemExit) as error:  # the module's own code may raise anything
        raise ImportError(f"{module_name} fails with {type(error).__name__}: {error}") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise ImportError(f"module {module_name} has no attribute {name!r}") from error


def import_on_first_use(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__` that imports each public name from its module on first use."""

    def get_attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return get_attribute


def class_paths_of(spec: Any) -> set[str]:
    """Return the class paths in a config or a network's specification, at any depth."""
    children = list(spec.values()) if isinstance(spec, dict) else spec if isinstance(spec, list) else []
    own = {spec["class_path"]} if isinstance(spec, dict) and isinstance(spec.get("class_path"), str) else set()
    return own.union(*map(class_paths_of, children))
