"""Numbers and names as a reader meets them."""

import math
import re

TIMES = "\N{MULTIPLICATION SIGN}"
UNKNOWN = "\N{EN DASH}"


def percent(share: float | str | None) -> str:
    """Write a share in [0, 1] in percent, with as many decimals as keep it from being rounded to 0 or 100."""
    value = number(share)
    if value is None:
        return UNKNOWN
    decimals = 1
    while (
        decimals < 4
        and f"{100 * value:.{decimals}f}" in (f"{0:.{decimals}f}", f"{100:.{decimals}f}")
        and 1e-9 < value < 1 - 1e-9
    ):
        decimals += 1
    return f"{100 * value:.{decimals}f}%"


def points(share: float | None) -> str:
    """Write a difference of shares in points of percent, with its sign."""
    value = number(share)
    return UNKNOWN if value is None else f"{100 * value:+.1f}" if round(100 * value, 1) else "0"


def decimal(value: float | str | None, places: int = 3) -> str:
    """Write a number with some decimals, and with as many as keep a small one from being rounded to 0."""
    found = number(value)
    if found is None:
        return UNKNOWN
    while places < 6 and found and not round(found, places):
        places += 1
    return f"{found:,.{places}f}"


def exact(value: float | str | None) -> str:
    """Write a measured number as it is, with four digits that count where it is a fraction."""
    found = number(value)
    return UNKNOWN if found is None else f"{found:,.0f}" if found == int(found) else f"{found:,.4g}"


def short(value: float | str | None) -> str:
    """Write a number of any size with two digits that count."""
    found = number(value)
    return (
        UNKNOWN
        if found is None
        else "0"
        if found == 0
        else f"{found:.1e}"
        if abs(found) < 1e-3
        else f"{found:.2g}"
        if abs(found) < 99.5
        else f"{found:,.0f}"
    )


def size(num_bytes: float | None) -> str:
    value = number(num_bytes)
    return UNKNOWN if value is None else f"{value / 1e6:,.2f} MB" if value >= 1e4 else f"{value / 1e3:.1f} kB"


def times(factor: float | None) -> str:
    value = number(factor)
    return UNKNOWN if value is None else f"{value:.1f}{TIMES}" if value < 99.5 else f"{value:,.0f}{TIMES}"


def duration(seconds: float | None) -> str:
    value = number(seconds)
    if value is None:
        return UNKNOWN
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def words(name: str) -> str:
    """Write an identifier as words."""
    return name.replace("_", " ")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def acronym(name: str) -> str:
    """Write the short names of corruptions and attacks as they are known."""
    return name.upper() if name in ("jpeg", "fgsm", "pgd") else words(name)


def brief(text: str) -> str:
    """Write a table's cell: a number with three digits that count, anything else as it is."""
    try:
        return f"{float(text):.3g}" if "." in text else text
    except ValueError:
        return text


def listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


def sentence(text: str) -> str:
    return capital(text) + "."


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def markdown(value: object) -> str:
    """Escape what Markdown or HTML would read as markup, and keep to one line: a label may be any folder's name."""
    text = re.sub(r"\s+", " ", str(value))
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", text)


def number(value: float | str | None) -> float | None:
    """Read a number; None where a figure has no example to stand on."""
    if value is None or value == "":
        return None
    found = float(value)
    return found if math.isfinite(found) else None
