"""The range check of numeric settings, which every stage and every section of the training's config uses."""

import os

from leyden.errors import UserError

SEEDS = "[0, 4294967295]"  # what numpy's global generator accepts
BATCH_SIZES = "[1, 1048576]"  # random numbers are drawn for a whole batch, even if the data has fewer examples
# More processes than cores are of use for slow disks only; tens of thousands would take all memory.
NUM_WORKERS = f"[0, {max(32, 4 * (os.cpu_count() or 1))}]"

STAGES = ("prepare", "evaluate", "export", "explain", "report")
VERBS_WITHOUT_CONFIG = ("predict", "compare")


def check_range(section: str, interval: str, **values: float | None) -> None:
    """Check that settings, passed by name, lie in an interval; NaN lies in none.

    Args:
        section: What the settings belong to: a verb, or a section of configs/train.yaml such as data or model.schedule.
        interval: `[1, inf)` for 1 or more; a round bracket excludes its end.
        values: The settings. None, a setting that is off, is out of range: check those only if they are set.

    Raises:
        UserError: if one of them is out of range or is not a number.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            is_above = value >= low if interval[0] == "[" else value > low
            is_below = value <= high if interval[-1] == "]" else value < high
            if is_above and is_below:
                continue
        verb, key = section.partition(".")[0], f"{section}.{name}".lstrip(".")
        config = f"configs/{verb if verb in STAGES else 'train'}.yaml"
        place = f"with --{name}" if verb in VERBS_WITHOUT_CONFIG else f"in {config}"
        raise UserError(f"{key} must lie in {interval}; got {'null' if value is None else value}; set it {place}")
