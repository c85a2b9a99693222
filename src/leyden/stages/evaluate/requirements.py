"""The metrics that a model must reach to be published: `evaluate.require`."""

from typing import Any

from leyden.artifacts import LESS_IS_BETTER
from leyden.errors import UserError, did_you_mean


def find_unmet(require: dict[str, float], metrics: dict[str, Any]) -> list[str]:
    """Describe each requirement that is not met; a metric that is NaN meets none.

    Raises:
        UserError: if a requirement does not name a metric.
    """
    unmet = []
    for name, bound in require.items():
        if name not in metrics:
            known = ", ".join(key for key in metrics if not key.endswith(("_low", "_high")))
            raise UserError(
                f"expected evaluate.require to name metrics ({known}, or these with _low and _high); "
                f"got {name!r}{did_you_mean(name, metrics)}; correct it"
            )
        is_maximum = name.removesuffix("_low").removesuffix("_high") in LESS_IS_BETTER
        if not (metrics[name] <= bound if is_maximum else metrics[name] >= bound):
            unmet.append(f"{name} of {'at most' if is_maximum else 'at least'} {bound:g}, got {metrics[name]:.4f}")
    return unmet
