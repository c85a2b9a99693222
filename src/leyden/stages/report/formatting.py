"""Formatting of numbers and names for the pages and the model card; most of these functions are Jinja filters too."""

import math
import re

TIMES = "\N{MULTIPLICATION SIGN}"
UNKNOWN = "\N{EN DASH}"


def percent(fraction: float | str | None) -> str:
    """Format a fraction in [0, 1] as a percentage, with enough decimals that it is not rounded to 0 or 100."""
    value = parse_number(fraction)
    if value is None:
        return UNKNOWN
    decimals = 1
    while decimals < 4 and 1e-9 < value < 1 - 1e-9 and float(f"{100 * value:.{decimals}f}") in (0, 100):
        decimals += 1
    return f"{100 * value:.{decimals}f}%"


def percentage_points(difference: float | None) -> str:
    """Format a difference of two fractions in percentage points, with its sign."""
    value = parse_number(difference)
    return UNKNOWN if value is None else f"{100 * value:+.1f}" if round(100 * value, 1) else "0"


def decimal(number: float | str | None, num_decimals: int = 3) -> str:
    """Format a number with some decimals, and with more where a small one would be rounded to 0."""
    value = parse_number(number)
    if value is None:
        return UNKNOWN
    while num_decimals < 6 and value and not round(value, num_decimals):
        num_decimals += 1
    return f"{value:,.{num_decimals}f}"


def four_digits(number: float | str | None) -> str:
    """Format an integer in full, and a fraction with four significant digits."""
    value = parse_number(number)
    return UNKNOWN if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def two_digits(number: float | str | None) -> str:
    """Format a number of any magnitude with two significant digits."""
    value = parse_number(number)
    if value is None:
        return UNKNOWN
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.2g}" if abs(value) < 99.5 else f"{value:,.0f}"


def file_size(num_bytes: float | None) -> str:
    value = parse_number(num_bytes)
    return UNKNOWN if value is None else f"{value / 1e6:,.2f} MB" if value >= 1e4 else f"{value / 1e3:.1f} kB"


def factor(ratio: float | None) -> str:
    """Format a ratio, for example a speedup: 8.0 followed by a multiplication sign."""
    value = parse_number(ratio)
    return UNKNOWN if value is None else f"{value:.1f}{TIMES}" if value < 99.5 else f"{value:,.0f}{TIMES}"


def duration(seconds: float | None) -> str:
    value = parse_number(seconds)
    if value is None:
        return UNKNOWN
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def as_words(identifier: str) -> str:
    return identifier.replace("_", " ")


def capitalize_first(text: str) -> str:
    """Capitalise the first letter and leave the others, unlike `str.capitalize`."""
    return text[:1].upper() + text[1:]


def uppercase_acronym(identifier: str) -> str:
    """Format the name of a corruption, an attack or a score as words, acronyms in upper case."""
    return identifier.upper() if identifier in ("jpeg", "fgsm", "pgd") else as_words(identifier)


def table_cell(text: str) -> str:
    """Format a CSV cell: a fraction with three significant digits, anything else unchanged."""
    try:
        return f"{float(text):.3g}" if "." in text else text
    except ValueError:
        return text


def join_names(names: list[str], max_names: int | None = None) -> str:
    """Join names as in prose: `a, b and c`, or, if there are more than `max_names`, `a, b and others`."""
    if max_names and len(names) > max_names:
        names = [*names[:max_names], "others"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


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
