"""Formatting of numbers and names for the pages and the model card; most of these functions are Jinja filters too."""

import re
import unicodedata

from markupsafe import Markup, escape

from leyden.outputs.number_format import number_format
from leyden.outputs.score_format import as_words

TIMES = "\N{MULTIPLICATION SIGN}"
STRENGTHS = {  # of the corruptions and attacks of `leyden evaluate`
    "noise": "standard deviation (1 is the range of pixels)",
    "blur": "sigma in pixels (in proportion in images above 64 pixels)",
    "contrast": "fraction that remains",
    "jpeg": "quality",
    "rotation": "degrees",
    "fgsm": "largest change of a pixel (1 is the range)",
    "pgd": "largest change of a pixel (1 is the range)",
}


@number_format
def file_size(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.2f} MB" if num_bytes >= 1e4 else f"{num_bytes / 1e3:.1f} kB"


@number_format
def factor(ratio: float) -> str:
    """Format a ratio, for example a speedup: 8.0 followed by a multiplication sign."""
    return f"{ratio:.1f}{TIMES}" if ratio < 99.5 else f"{ratio:,.0f}{TIMES}"


@number_format
def duration(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def property_name(by: str) -> str:
    """Format what slices are by as words; the name of a label, after a space, stays as it is."""
    return by if " " in by else as_words(by)


def capitalize_first(text: str) -> str:
    """Capitalise the first letter and leave the others, unlike `str.capitalize`."""
    return text[:1].upper() + text[1:]


def strength_meaning(kind: str) -> str:
    """Return what the strength of a corruption or an attack measures."""
    return STRENGTHS.get(kind, "as `leyden evaluate` sets it")


def code_spans(text: str) -> Markup:
    """Escape a text for HTML, and mark what is between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def table_cell(text: str) -> str:
    """Format a CSV cell: a fraction with three significant digits, anything else unchanged."""
    try:
        return f"{float(text):.3g}" if "." in text else text
    except ValueError:
        return text


def join_names(names: list[str], max_names: int | None = None, last: str = "and") -> str:
    """Join names as in prose: `a, b and c`, or, if there are more than `max_names`, `a, b and others`."""
    if max_names and len(names) > max_names:
        names = [*names[:max_names], "others"]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


def isolate(name: str) -> str:
    """Keep a name in right-to-left letters from moving the numbers beside it: U+2068 and U+2069 around it."""
    is_right_to_left = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name)
    return f"\u2068{name}\u2069" if is_right_to_left else name


def list_smallest(counts: dict[str, int], max_names: int = 5) -> str:
    """List names with their counts: all in their order, or, if there are more, `for example` the smallest."""
    names = counts if len(counts) <= max_names else sorted(counts, key=counts.__getitem__)[:max_names]
    listed = join_names([f"{isolate(name)} ({counts[name]:,})" for name in names])
    return listed if len(counts) <= max_names else f"for example {listed}"


def number_of(count: int, total: int, noun: str, nouns: str) -> str:
    """Begin a clause about some of a total: `All 3 classes have`, `Both classes have` or `1 of 3 classes has`."""
    if count == total:
        return {1: f"The only {noun} has", 2: f"Both {nouns} have"}.get(total, f"All {total:,} {nouns} have")
    return f"{count:,} of {plural(total, noun, nouns)} {'has' if count == 1 else 'have'}"


def as_sentence(text: str) -> str:
    return capitalize_first(text) + "."


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Format a count with its noun; the plural ends in -s unless `nouns` is given."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def escape_markdown(value: object) -> str:
    """Escape Markdown and HTML markup and join lines: a label may be any folder's name."""
    text = re.sub(r"\s+", " ", str(value))
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", text)
