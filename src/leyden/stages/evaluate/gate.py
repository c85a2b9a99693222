"""What a model must reach to be published."""

from leyden.errors import UserError
from leyden.parsing import did_you_mean
from leyden.stages.evaluate.metrics import LESS_IS_BETTER

BOUNDS = ("_low", "_high")


def check_names(require: dict[str, float], metrics: dict[str, float]) -> None:
    """Stop at a requirement of what is not measured.

    Raises:
        UserError: which one.
    """
    for name in require:
        if name not in metrics:
            known = ", ".join(key for key in metrics if not key.endswith(BOUNDS))
            hint = did_you_mean(name, metrics)
            raise UserError(
                f"expected evaluate.require to name figures ({known}, or these with _low and _high); got {name!r}{hint}; correct it"
            )


def failures(require: dict[str, float], metrics: dict[str, float]) -> list[str]:
    """Say which figures are not as good as they must be."""
    found = []
    for name, wanted in require.items():
        less = name.removesuffix("_low").removesuffix("_high") in LESS_IS_BETTER
        if not (metrics[name] <= wanted if less else metrics[name] >= wanted):  # not a number is no pass
            found.append(f"{name} of {'at most' if less else 'at least'} {wanted:g}, got {metrics[name]:.4f}")
    return found
