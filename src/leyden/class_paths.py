"""Class paths (`package.module.Name`) in configs and model files: how they are collected and imported."""

import importlib
from typing import Any


def import_path(path: str) -> Any:
    """Import a class, a function or another attribute of a module.

    Args:
        path: `package.module.Name`.

    Raises:
        ImportError: if the path has no module, the module or its attribute does not exist, or the module's own code
            fails.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise ImportError(f"{path!r} is not of the form package.module.Name")
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise
    except Exception as error:  # the module's own code may raise anything
        raise ImportError(f"{module_name} fails with {type(error).__name__}: {error}") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise ImportError(f"module {module_name} has no attribute {name!r}") from error


def class_paths_of(spec: Any) -> set[str]:
    """Return the class paths in a config or a network's specification, at any depth."""
    children = list(spec.values()) if isinstance(spec, dict) else spec if isinstance(spec, list) else []
    own = {spec["class_path"]} if isinstance(spec, dict) and isinstance(spec.get("class_path"), str) else set()
    return own.union(*map(class_paths_of, children))
