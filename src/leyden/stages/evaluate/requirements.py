"""The metrics that a model must reach to be published: `evaluate.require`."""

from collections.abc import Collection
from typing import Any

from leyden.errors import UserError, did_you_mean

NO_METRICS = ("required", "task", "headline")  # of metrics.json


def find_unmet(require: dict[str, float], metrics: dict[str, Any], lower_is_better: Collection[str]) -> list[str]:
    """Describe each requirement that is not met; a metric that is NaN meets none.

    Args:
        require: Bounds by the name of a metric, or with _low or _high that of the end of its interval.
        metrics: Content of metrics.json.
        lower_is_better: Names of the metrics of which lower values are better.

    Raises:
        UserError: if a requirement does not name a metric.
    """
    unmet = []
    names = [name for name in metrics if name not in NO_METRICS]
    for name, bound in require.items():
        if name not in names:
            known = ", ".join(key for key in names if not key.endswith(("_low", "_high")) and "/" not in key)
            raise UserError(
                f"expected evaluate.require to name metrics ({known}, or these with _low and _high); "
                f"got {name!r}{did_you_mean(name, names)}; correct it"
            )
        is_maximum = name.removesuffix("_low").removesuffix("_high") in lower_is_better
        if not (metrics[name] <= bound if is_maximum else metrics[name] >= bound):
            unmet.append(f"{name} of {'at most' if is_maximum else 'at least'} {bound:g}, got {metrics[name]:.4f}")
    return unmet
