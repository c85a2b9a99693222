"""Jinja2 with the page's and the card's way of escaping."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leyden.stages.report import wording

FILTERS = ("percent", "decimal", "exact", "short", "size", "times", "duration", "words", "plural", "sentence")


def render_page(name: str, facts: dict[str, Any]) -> str:
    return environment(autoescape=True).get_template(f"{name}.j2").render(facts)


def render_card(facts: dict[str, Any]) -> str:
    """Render the card; `finalize` escapes every value for Markdown, as autoescape does for HTML."""
    return (
        environment(finalize=lambda value: value if isinstance(value, Markup) else wording.markdown(value))
        .get_template("model_card.md.j2")
        .render(facts)
    )


def environment(**options: Any) -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, **options)
    made.filters |= {name: getattr(wording, name) for name in FILTERS} | {"count": "{:,}".format}
    return made
