"""The metrics that a model must reach to be published: `evaluate.require`."""

from typing import Any

from leyden.artifacts import LESS_IS_BETTER
from leyden.errors import UserError, did_you_mean


def check_required_names(require: dict[str, float], metrics: dict[str, Any]) -> None:
    """Check that every requirement names a metric.

    Raises:
        UserError: if one does not; the message lists the metrics.
    """
    for name in require:
        if name not in metrics:
            known = ", ".join(key for key in metrics if not key.endswith(("_low", "_high")))
            hint = did_you_mean(name, metrics)
            raise UserError(
                f"expected evaluate.require to name metrics ({known}, or these with _low and _high); "
                f"got {name!r}{hint}; correct it"
            )


def find_unmet(require: dict[str, float], metrics: dict[str, Any]) -> list[str]:
    """Describe each requirement that is not met; a metric that is NaN meets none."""
    unmet = []
    for name, bound in require.items():
        is_maximum = name.removesuffix("_low").removesuffix("_high") in LESS_IS_BETTER
        if not (metrics[name] <= bound if is_maximum else metrics[name] >= bound):
            unmet.append(f"{name} of {'at most' if is_maximum else 'at least'} {bound:g}, got {metrics[name]:.4f}")
    return unmet
