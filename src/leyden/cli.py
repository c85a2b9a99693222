"""The command line: `leyden VERB` imports only the stage that runs the verb."""

import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

from leyden import __version__
from leyden.errors import DISK_FULL, UserError, did_you_mean, one_line
from leyden.files.names import printable

# verb: (module, description). The module has a function `main` if it runs several verbs, else one named after the verb.
VERBS = {
    "sample": ("leyden.stages.sample", "write sample data for any task: leyden sample --kind=regression"),
    "prepare": ("leyden.stages.prepare", "read, check, split and pack labelled images or sequences"),
    "fit": ("leyden.stages.train", "train a model, or resume an interrupted training"),
    "tune": ("leyden.stages.train", "suggest a learning rate and a batch size for fit"),
    "validate": ("leyden.stages.train", "score a checkpoint on the validation split"),
    "test": ("leyden.stages.train", "score a checkpoint on the test split"),
    "doctor": ("leyden.stages.doctor", "find problems with model or data in a few training steps; writes no files"),
    "evaluate": ("leyden.stages.evaluate", "predict the test split; write metrics with intervals, plots and errors"),
    "export": ("leyden.stages.export", "export the model to other formats, and verify each file"),
    "explain": ("leyden.stages.explain", "show what predictions depend on, and how reliable the explanations are"),
    "report": ("leyden.stages.report", "summarise all results in one page and a model card"),
    "predict": ("leyden.stages.predict", "predict images or sequences: leyden predict MODEL PATH..."),
    "compare": ("leyden.stages.compare", "compare two models on the same test data: leyden compare OLD NEW"),
    "completion": ("leyden.completion", "print a shell completion script for bash or zsh"),
}
STAGES = Path(__file__).parent / "stages"
MAX_PATH_PARTS = 200  # pathlib creates parent folders by recursion
# These log what they find on the machine: a home folder that is not writable, no CUDA runtime, or newer versions.
NOISY_LOGGERS = ("matplotlib", "torch.utils._pytree", "torch.utils.cpp_extension")
HELP_OPTIONS = ("-h", "--help", "help")
HELP = """usage: leyden VERB [-c CONFIG]... [--key=value]...

{verbs}

Run `leyden VERB --help` for the options of a verb. Without -c, a verb reads configs/VERB.yaml if it exists
(fit, tune, doctor, validate and test: configs/train.yaml).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        Exit code: 0 for success, 1 if `doctor` found a failure, 2 for a mistake that the user can fix (printed as one
        line), 130 if interrupted.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's C++ code warns of its own workings
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    if argv is None:
        sys.path.append(str(Path.cwd()))  # so that configs can name the user's own classes in files there
        argv = sys.argv[1:]
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - after `leyden ... >&-`
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    verb, *rest = argv or ["--help"]
    try:
        try:
            run(verb, rest)
        except SystemExit as error:  # after --help or --print_config
            sys.stdout.flush()
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning ends the program after Ctrl-C
                raise KeyboardInterrupt from error
            raise
        sys.stdout.flush()
    except UserError as error:
        if os.environ.get("LEYDEN_DEBUG") == "1":
            raise
        print_error(printable(f"leyden {verb}: {error}"))
        return 2
    except OSError as error:
        if os.environ.get("LEYDEN_DEBUG") == "1" or error.errno not in (*DISK_FULL, errno.EPIPE):
            raise
        if error.errno == errno.EPIPE:  # Python would report it once more when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if verb == "completion" or any(arg in HELP_OPTIONS or arg.startswith("--print_config") for arg in argv):
                return 0  # `leyden fit --help | head` has read enough
            print_error(f"leyden {verb}: expected to print all output; got: {error.strerror}; do not close the pipe")
            return 2
        path = f" for {printable(str(error.filename))}" if error.filename else ""
        print_error(
            f"leyden {verb}: expected to write all output; got: {error.strerror}{path}; correct this and run it again "
            "(earlier results are unchanged)"
        )
        return 2
    except KeyboardInterrupt:
        print_error(f"leyden {verb}: interrupted; run the same command again to resume or start over")
        return 130
    return 0


def print_error(line: str) -> None:
    """Print a line to stderr, if anything still reads it."""
    try:
        print(line, file=sys.stderr)
    except OSError:  # Python would report it once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def available_verbs() -> dict[str, str]:
    """Return the description of each verb, leaving out those whose stage was deleted from the project."""
    modules = {f"leyden.stages.{path.stem}" for path in STAGES.iterdir()} | {"leyden.completion"}
    return {verb: text for verb, (module, text) in VERBS.items() if module in modules}


def run(verb: str, args: list[str]) -> None:
    """Import the verb's stage, and call it with the values from the config files and the command line."""
    if verb in HELP_OPTIONS:
        return print(
            HELP.format(verbs="\n".join(f"  {name:<11} {text}" for name, text in available_verbs().items())), end=""
        )
    if verb in ("-V", "--version"):
        return print(f"leyden {__version__}")
    if verb not in available_verbs():
        raise UserError(
            f"expected a verb; got {verb!r}{did_you_mean(verb, available_verbs())}; run `leyden --help` for the list"
        )
    stage = importlib.import_module(VERBS[verb][0])
    args = with_default_config(stage, args)
    if hasattr(stage, "main"):  # the stage has its own parser: LightningCLI
        if {"-h", "--help"} & set(args):
            print(f"{VERBS[verb][1].capitalize()}.")
        stage.main(verb, args)
        return
    function = getattr(stage, verb)
    function(**parse(function, verb, args))


def with_default_config(stage: ModuleType, args: list[str]) -> list[str]:
    """Add configs/STAGE.yaml if the command line names no config; a stage's `CONFIG` is a different name for it."""
    name = getattr(stage, "CONFIG", stage.__name__.split(".")[-1])
    path = Path("configs", f"{name}.yaml")
    has_config = any(arg.startswith("--config") or (arg.startswith("-c") and not arg.startswith("--")) for arg in args)
    return args if has_config or not path.is_file() else ["--config", str(path), *args]


def parse(function: Callable[..., Any], verb: str, args: list[str]) -> dict[str, Any]:
    """Parse a function's arguments: those without a default are positional, the others are options and config keys."""
    from leyden.parsing import check_configs, one_line_errors

    parser = function_parser(function, verb)
    check_configs(parser, args)
    with one_line_errors(parser):
        config = parser.parse_args(args)
        values = parser.instantiate(config).as_dict()
    return {key: complete_path(value) for key, value in values.items() if key != "config"}


def complete_path(value: Any) -> Any:
    """Replace a leading `~` in a path, or in those of a list: shells leave it as it is in `--out=~/results`.

    Raises:
        UserError: if it names an unknown user, or cannot be a path.
    """
    if isinstance(value, list):
        return [complete_path(each) for each in value]
    if not isinstance(value, Path):
        return value
    if "\0" in str(value) or len(value.parts) > MAX_PATH_PARTS:
        raise UserError(
            f"expected a path of at most {MAX_PATH_PARTS} folders, without the character 0; got "
            f"{one_line(str(value))}...; choose a different path"
        )
    try:
        return value.expanduser()
    except RuntimeError as error:
        raise UserError(
            f"expected a path; got {value}, the home folder of an unknown user; write ./{value} for a name with ~"
        ) from error


def function_parser(function: Callable[..., Any], verb: str) -> Any:
    """Build a parser from a function's signature and docstring."""
    import inspect

    import docstring_parser

    from leyden.parsing import StrictParser

    docs = docstring_parser.parse(function.__doc__ or "")
    helps = {param.arg_name: param.description for param in docs.params}
    parser = StrictParser(prog=f"leyden {verb}", description=docs.short_description, exit_on_error=False)
    parser.add_argument("-c", "--config", action="config", help="Config file; several are merged from left to right.")
    for name, param in inspect.signature(function).parameters.items():
        if param.default is param.empty:
            is_list = get_origin(param.annotation) is list
            kind = {"type": get_args(param.annotation)[0], "nargs": "*"} if is_list else {"type": param.annotation}
            parser.add_argument(name, help=helps.get(name), **kind)
        elif param.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true", help=helps.get(name))
        else:
            parser.add_argument(f"--{name}", type=param.annotation, default=param.default, help=helps.get(name))
    return parser
