"""A completion script for bash or zsh: verbs, and each verb's options and config keys."""

import importlib
from collections.abc import Iterable
from typing import Any, Literal

from leyden.cli import VERBS, function_parser, verbs, with_default_config

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
    """Print a completion script; use it with `source <(leyden completion bash)`, or keep it in a file.

    Args:
        shell: bash or zsh.
    """
    cases = "\n".join(f'      {verb}) words="{" ".join(sorted(words_of(verb)))}" ;;' for verb in verbs())
    compat = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    print(SCRIPT.format(compat=compat, verbs=" ".join(verbs()), cases=cases), end="")


def words_of(verb: str) -> Iterable[str]:
    """List a verb's options, the keys of its config files among them."""
    module = importlib.import_module(VERBS[verb][0])
    args = with_default_config(module, [])
    if hasattr(module, "options"):
        keys = set(module.options())
    else:
        actions = function_parser(getattr(module, verb), verb)._actions
        keys = {option for action in actions for option in action.option_strings if option.startswith("--")}
    return {"--help", "--config", *keys, *(f"--{key}=" for key in keys_of(args[1:]))}


def keys_of(files: list[str]) -> Iterable[str]:
    """List the dotted keys of YAML files."""
    import yaml

    for file in files:
        with open(file, encoding="utf-8") as opened:
            yield from flatten(yaml.safe_load(opened))


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
