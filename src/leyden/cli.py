"""`leyden VERB`: finds the verb's stage and imports only that."""

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from leyden.errors import DISK_FULL, UserError

# verb: (module, what it does); the function bears the verb's name unless the module runs several verbs.
VERBS = {
    "sample": ("leyden.stages.sample", "write the sample data to data/"),
    "prepare": ("leyden.stages.prepare", "read, check, split and pack labelled images"),
    "fit": ("leyden.stages.train", "train a model (LightningCLI); resumes where it was interrupted"),
    "tune": ("leyden.stages.train", "suggest a learning rate and a batch size for fit's arguments"),
    "validate": ("leyden.stages.train", "score a checkpoint on the validation split"),
    "test": ("leyden.stages.train", "score a checkpoint on the test split"),
    "doctor": ("leyden.stages.doctor", "look for what is wrong with model or data, in a few steps; writes nothing"),
    "evaluate": ("leyden.stages.evaluate", "predict the test split; scores with intervals, plots, errors"),
    "export": ("leyden.stages.export", "write the model for other programs, each file checked against it"),
    "explain": ("leyden.stages.explain", "show what the model looks at, and how far to trust it"),
    "report": ("leyden.stages.report", "gather all of it in one page and a model card"),
    "predict": ("leyden.stages.predict", "name what images show: leyden predict MODEL PATH..."),
    "compare": ("leyden.stages.compare", "tell what a model gained and lost against another: leyden compare OLD NEW"),
    "completion": ("leyden.completion", "print a completion script for bash or zsh"),
}
STAGES = Path(__file__).parent / "stages"
HELP = """usage: leyden VERB [-c CONFIG]... [--key=value]...

{verbs}

`leyden VERB --help` tells a verb's options. A verb reads configs/VERB.yaml (fit, tune, doctor, validate, test: train.yaml) unless -c names others.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        Exit code: 0 done; 1 `doctor` found a failure; 2 a mistake that the user can mend, said in one line; 130 interrupted.
    """
    if argv is None:
        sys.path.append(str(Path.cwd()))  # classes of your own, in a file there
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, text in verbs().items())), end="")
        return 0
    if args[0] in ("-V", "--version"):
        from leyden import __version__

        print(f"leyden {__version__}")
        return 0
    verb, *rest = args
    try:
        run(verb, rest)
    except UserError as error:
        if os.environ.get("LEYDEN_DEBUG") == "1":
            raise
        print(f"leyden {verb}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if os.environ.get("LEYDEN_DEBUG") == "1" or error.errno not in (*DISK_FULL, errno.EPIPE):
            raise
        place = f" for {error.filename}" if error.filename else ""
        print(
            f"leyden {verb}: expected to write all output; got: {error.strerror}{place}; nothing was replaced",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"leyden {verb}: interrupted; the same command continues or starts over", file=sys.stderr)
        return 130
    return 0


def verbs() -> dict[str, str]:
    """Tell what each verb does; a stage that was deleted from the project has none."""
    there = {f"leyden.stages.{path.stem}" for path in STAGES.iterdir()} | {"leyden.completion"}
    return {verb: text for verb, (module, text) in VERBS.items() if module in there}


def run(verb: str, args: list[str]) -> None:
    """Import the verb's stage and call it with what the config files and the command line say."""
    if verb not in verbs():
        from leyden.parsing import did_you_mean

        raise UserError(f"expected a verb; got {verb!r}{did_you_mean(verb, verbs())}; `leyden --help` lists them")
    stage = importlib.import_module(VERBS[verb][0])
    args = with_default_config(stage, args)
    if hasattr(stage, "main"):  # a stage that parses for itself: LightningCLI
        stage.main(verb, args)
        return
    function = getattr(stage, verb)
    function(**parse(function, verb, args))


def with_default_config(stage: ModuleType, args: list[str]) -> list[str]:
    """Add the stage's own config, configs/STAGE.yaml, if the command line has none; `CONFIG` in a stage names another."""
    name = getattr(stage, "CONFIG", stage.__name__.split(".")[-1])
    path = Path("configs", f"{name}.yaml")
    named = any(arg.startswith("--config") or (arg.startswith("-c") and not arg.startswith("--")) for arg in args)
    return args if named or not path.is_file() else ["--config", str(path), *args]


def parse(function: Callable[..., Any], verb: str, args: list[str]) -> dict[str, Any]:
    """Read a function's arguments: those without a default are positional, the others options and config keys."""
    from leyden.parsing import one_line_errors

    parser = function_parser(function, verb)
    with one_line_errors(parser):
        config = parser.parse_args(args)
        return {key: value for key, value in parser.instantiate(config).as_dict().items() if key != "config"}


def function_parser(function: Callable[..., Any], verb: str) -> Any:
    """Make a parser of a function's signature and docstring."""
    import inspect
    import typing

    import docstring_parser
    from jsonargparse import ArgumentParser

    docs = docstring_parser.parse(function.__doc__ or "")
    helps = {param.arg_name: param.description for param in docs.params}
    parser = ArgumentParser(
        prog=f"leyden {verb}", description=docs.short_description, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("-c", "--config", action="config", help="Config file; several are merged from left to right.")
    for name, param in inspect.signature(function).parameters.items():
        if param.default is param.empty:
            many = typing.get_args(param.annotation) if typing.get_origin(param.annotation) is list else ()
            options: dict[str, Any] = {"type": many[0], "nargs": "+"} if many else {"type": param.annotation}
            parser.add_argument(name, help=helps.get(name), **options)
        elif param.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true", help=helps.get(name))
        else:
            parser.add_argument(f"--{name}", type=param.annotation, default=param.default, help=helps.get(name))
    return parser
