"""Checks of the settings of intervals."""

from leyden.errors import UserError


def check_confidence_level(confidence_level: float, verb: str) -> None:
    """Check that a verb's confidence level is a fraction.

    Raises:
        UserError: if it does not lie in (0, 1).
    """
    if not 0 < confidence_level < 1:
        raise UserError(
            f"{verb}.confidence_level must lie in (0, 1); got {confidence_level}; set it to a fraction such as 0.95"
        )
