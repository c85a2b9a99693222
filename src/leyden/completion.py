"""`leyden completion`: a script that completes verbs, options and config keys in bash and zsh."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from leyden.cli import VERBS, available_verbs, function_parser, with_default_config
from leyden.yaml_files import read_yaml

SCRIPT = """{compat}_leyden() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words
  if [ "$COMP_CWORD" -eq 1 ]; then words="{verbs}"; else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  case "$word" in -*) ;; *) [ "$COMP_CWORD" -gt 1 ] && COMPREPLY+=($(compgen -f -- "$word")) ;; esac
}}
complete -o nospace -F _leyden leyden
"""


def completion(shell: Literal["bash", "zsh"]) -> None:
    """Print a shell completion script. Enable it with `source <(leyden completion bash)`.

    Args:
        shell: bash or zsh.
    """
    verbs = available_verbs()
    cases = "\n".join(f'      {verb}) words="{" ".join(sorted(completions_of(verb)))}" ;;' for verb in verbs)
    compat = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    print(SCRIPT.format(compat=compat, verbs=" ".join(verbs), cases=cases), end="")


def completions_of(verb: str) -> Iterable[str]:
    """Return a verb's options, and the keys of its default config as options."""
    module = importlib.import_module(VERBS[verb][0])
    args = with_default_config(module, [])
    if hasattr(module, "options"):
        options = set(module.options())
    else:
        actions = function_parser(getattr(module, verb), verb)._actions
        options = {option for action in actions for option in action.option_strings if option.startswith("--")}
    # After "--config" comes the path of the default config, if there is one.
    configs = [read_yaml(Path(path)) for path in args[1:]]
    return {"--help", "--config", *options, *(f"--{key}=" for config in configs for key in dotted_keys(config))}


def dotted_keys(tree: dict[str, Any], prefix: str = "") -> Iterable[str]:
    """Yield the keys of a config's values, as in `data.init_args.folder`."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from dotted_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
