"""Numbers as people read them: percentages, and plain numbers with a few significant digits."""

import functools
import math
from collections.abc import Callable

UNKNOWN = "\N{EN DASH}"


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


def parse_number(value: float | str | None) -> float | None:
    """Return a number as float, and None for a missing, blank or non-finite one."""
    if value is None or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None
