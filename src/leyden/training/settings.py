"""Range checks of a module's settings."""

from leyden.errors import UserError


def check_range(low: float, high: float, interval: str, **values: float) -> None:
    """Check that settings lie in [low, high).

    Args:
        low: Inclusive lower bound.
        high: Exclusive upper bound.
        interval: The interval as shown in the message.
        values: The settings by name.

    Raises:
        UserError: if a setting lies outside.
    """
    for name, value in values.items():
        if not low <= value < high:
            raise UserError(f"{name} must lie in {interval}; got {value}; set it in the model's init_args")
