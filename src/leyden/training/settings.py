"""Checks of a module's settings."""

from leyden.errors import UserError


def check_range(low: float, high: float, interval: str, **values: float) -> None:
    """Check that settings lie in [low, high).

    Args:
        low: Smallest allowed value.
        high: Bound that no value may reach.
        interval: The interval as it is shown in the message.
        values: The settings by name.

    Raises:
        UserError: if one does not.
    """
    for name, value in values.items():
        if not low <= value < high:
            raise UserError(f"{name} must lie in {interval}; got {value}; set it in the model's init_args")
