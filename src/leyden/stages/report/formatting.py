"""Formatting of numbers and names for the pages and the model card; most of these functions are Jinja filters too."""

import functools
import math
import re
import unicodedata
from collections.abc import Callable

from markupsafe import Markup, escape

TIMES = "\N{MULTIPLICATION SIGN}"
UNKNOWN = "\N{EN DASH}"
STRENGTHS = {  # of the corruptions and attacks of `leyden evaluate`
    "noise": "standard deviation (1 is the range of pixels)",
    "blur": "sigma in pixels (in proportion in images above 64 pixels)",
    "contrast": "fraction that remains",
    "jpeg": "quality",
    "rotation": "degrees",
    "fgsm": "largest change of a pixel (1 is the range)",
    "pgd": "largest change of a pixel (1 is the range)",
}


def number_format(function: Callable[..., str]) -> Callable[..., str]:
    """Make a function that formats a float also accept text, and return a dash for anything but a finite number."""

    @functools.wraps(function)
    def wrapper(number: float | str | None, *args: int) -> str:
        value = parse_number(number)
        return UNKNOWN if value is None else function(value, *args)

    return wrapper


@number_format
def percent(value: float) -> str:
    """Format a fraction in [0, 1] as a percentage, with enough decimals that it is not rounded to 0 or 100."""
    decimals = 1
    while decimals < 4 and 1e-9 < value < 1 - 1e-9 and float(f"{100 * value:.{decimals}f}") in (0, 100):
        decimals += 1
    return f"{100 * value:.{decimals}f}%"


@number_format
def percentage_points(value: float) -> str:
    """Format a difference of two fractions in percentage points, with its sign."""
    return f"{100 * value:+.1f}" if round(100 * value, 1) else "0"


@number_format
def decimal(value: float, num_decimals: int = 3) -> str:
    """Format a number with some decimals, and with more, up to 6, where a small one would be rounded to 0."""
    decimals = num_decimals
    while decimals < 6 and not round(value, decimals):
        decimals += 1
    return f"{value:,.{decimals if round(value, decimals) else num_decimals}f}"


@number_format
def four_digits(value: float) -> str:
    """Format an integer in full, and a fraction with four significant digits."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


@number_format
def three_digits(value: float) -> str:
    """Format a number of any magnitude with three significant digits, or as an integer if it has more."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


@number_format
def two_digits(value: float) -> str:
    """Format a number of any magnitude with two significant digits."""
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.2g}" if abs(value) < 99.5 else f"{value:,.0f}"


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


def as_words(identifier: str) -> str:
    return identifier.replace("_", " ")


def property_name(by: str) -> str:
    """Format what slices are by as words; the name of a label, after a space, stays as it is."""
    return by if " " in by else as_words(by)


def capitalize_first(text: str) -> str:
    """Capitalise the first letter and leave the others, unlike `str.capitalize`."""
    return text[:1].upper() + text[1:]


def uppercase_acronym(identifier: str) -> str:
    """Format the name of a corruption, an attack or a score as words, acronyms in upper case."""
    return identifier.upper() if identifier in ("jpeg", "fgsm", "pgd") else as_words(identifier)


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


def parse_number(value: float | str | None) -> float | None:
    """Return a number as float, and None for a missing, blank or non-finite one."""
    if value is None or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
