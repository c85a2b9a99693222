"""Checks of the classes that a command line names: can they be imported, and are they of the right kind?"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leyden.class_paths import import_path
from leyden.errors import UserError, describe_error, one_line, own_line, root_cause
from leyden.models.module_checkpoint import find_missing
from leyden.parsing import class_path_named_last, names_setting
from leyden.trust.description import CLASS_PATH

IS_CONFIG = re.compile(r"^\s*[{\[]|\.(ya?ml|json)$")


def check_named_class(args: Sequence[str], section: str, kind: type) -> None:
    """Raise UserError if the class of the user's that is named for a section cannot be imported, or is of another kind.

    Names without a module, and settings in place of a class path, are the parser's to judge.
    """
    class_path = class_path_named_last(args, section)
    if not isinstance(class_path, str) or class_path.isidentifier() or IS_CONFIG.search(class_path):
        return
    if not CLASS_PATH.fullmatch(class_path):
        raise UserError(
            f"{section}: expected package.module.Name as class_path; got {class_path[:80]}; write train_net.Net for "
            "the class Net of the file train_net.py"
        )
    try:
        named = import_path(class_path)
    except ImportError as error:
        raise UserError(
            f"expected a class that can be imported as {section}; got {class_path}: {one_line(error, 200)}"
            f"{describe_place(error, class_path)}; correct the path, the code or the installed packages"
        ) from error
    if isinstance(named, type) and issubclass(named, kind):
        return
    got = f"an object of type {type(named).__name__}"
    if isinstance(named, type):  # perhaps of the package pytorch_lightning, whose classes have the same names
        namesake = next((each for each in named.__mro__ if each.__name__ == kind.__name__), None)
        got = f"a subclass of {namesake.__module__}.{namesake.__name__}" if namesake else "a class of another kind"
    raise UserError(
        f"expected a subclass of lightning.pytorch.{kind.__name__} as {section}; got {class_path}, {got}; derive it "
        "from that class"
    )


def check_arguments_set(args: Sequence[str], section: str, spec: Any, linked: Sequence[str]) -> None:
    """Raise UserError if arguments of a class without type and default are not set, nor linked to other settings.

    Args:
        args: The command line.
        section: Of the config, such as model.
        spec: The section's class path and arguments as parsed, with None for what is not set.
        linked: Arguments that other settings or the data set.
    """
    given = [name.partition(".")[0] for name, value in (spec.get("init_args") or {}).items() if value is not None]
    missing = find_missing(import_path(spec.class_path), [*given, *linked])
    if missing := [name for name in missing if not names_setting(args, section, name)]:
        raise UserError(
            f"expected values of the arguments {', '.join(missing)} of {spec.class_path}; got none; "
            f"set --{section}.{missing[0]}"
        )


def describe_place(error: ImportError, class_path: str) -> str:
    """Return where a class path leads: to a line that fails, or to a module, whose name may be that of another."""
    if line := own_line(error.__cause__ or error):
        return f" ({line})"
    name = class_path.rpartition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if not file:
        return ""
    own = Path(f"{name}.py")
    is_hidden = own.exists() and not own.samefile(file)
    return f" ({file}; it hides {own}, which needs another name)" if is_hidden else f" ({file})"


@contextmanager
def constructor_errors() -> Iterator[None]:
    """Raise what a constructor of the user's raises, which jsonargparse wraps, as UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        root = root_cause(error)
        if isinstance(root, UserError) or not own_line(root):
            raise
        raise UserError(
            f"expected classes that can be built with their arguments; got {describe_error(root)}; "
            "correct the code or the arguments (LEYDEN_DEBUG=1 shows the traceback)"
        ) from error
