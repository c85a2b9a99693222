"""Jinja2 with the page's and the card's way of escaping."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leyden.stages.report import wording
from leyden.stages.report.card import front_matter

HERE = Path(__file__).parent
SCRIPTS = ("vendor/panzoom.min.js", "vendor/sortable.min.js", "page.js")
FILTERS = (
    "percent",
    "decimal",
    "exact",
    "short",
    "size",
    "times",
    "duration",
    "words",
    "plural",
    "sentence",
    "capital",
    "acronym",
    "brief",
    "points",
)


def render_page(name: str, facts: dict[str, Any]) -> str:
    """Render a page with its scripts inside; their hash is all that its policy lets run."""
    script = page_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment(autoescape=True).get_template(f"{name}.j2")
    return page.render(facts | {"script": Markup(script), "script_hash": digest})


def page_script() -> str:
    return "\n".join((HERE / path).read_text(encoding="utf-8").strip() for path in SCRIPTS)


def render_card(facts: dict[str, Any]) -> str:
    """Render the card; `finalize` escapes every value for Markdown, as autoescape does for HTML."""
    head = front_matter(facts["title"], facts["license"], facts["dataset"], facts["evaluation"])
    return (
        environment(finalize=lambda value: value if isinstance(value, Markup) else wording.markdown(value))
        .get_template("model_card.md.j2")
        .render(facts | {"front_matter": Markup(head)})
    )


def environment(**options: Any) -> Environment:
    loader = FileSystemLoader(HERE)
    made = Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    made.filters |= {name: getattr(wording, name) for name in FILTERS} | {"count": "{:,}".format}
    return made
