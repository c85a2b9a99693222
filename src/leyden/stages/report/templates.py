"""Rendering of the pages and the model card with Jinja."""

import base64
import hashlib
import inspect
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leyden.outputs import number_format, score_format
from leyden.stages.report import formatting
from leyden.stages.report.card import front_matter

HERE = Path(__file__).parent
SCRIPTS = ("vendor/panzoom.min.js", "vendor/sortable.min.js", "page.js")


def render_page(name: str, context: dict[str, Any]) -> str:
    """Render a page with its scripts inline; its content security policy allows only their hash."""
    script = page_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment(autoescape=True).get_template(f"{name}.j2")
    return page.render(context | {"script": Markup(script), "script_hash": digest})


def page_script() -> str:
    return "\n".join((HERE / path).read_text(encoding="utf-8").strip() for path in SCRIPTS)


def render_card(context: dict[str, Any], name: str = "model_card.md") -> str:
    """Render the model card; `finalize` escapes every value for Markdown, as autoescape does for HTML."""
    header = front_matter(context["title"], context["license"], context["dataset"], context["evaluation"])
    env = environment(finalize=lambda value: value if isinstance(value, Markup) else formatting.escape_markdown(value))
    return env.get_template(f"{name}.j2").render(context | {"front_matter": Markup(header)})


def environment(**options: Any) -> Environment:
    env = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    for module in (formatting, number_format, score_format):
        env.filters.update(inspect.getmembers(module, inspect.isfunction))
    env.filters.update(count="{:,}".format, zip=zip)
    return env
