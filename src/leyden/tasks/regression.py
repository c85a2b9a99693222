"""Regression: each example has one number or several."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from leyden.errors import UserError
from leyden.tasks.targets import LossOptions, TargetFile, TargetSource, refuse_options
from leyden.tasks.task import NETWORKS, Task
from leyden.trust.description import is_list_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchmetrics import Metric, MetricCollection

PREFIX = "target_"  # of the columns, where there are several targets
NUM_STRATA, MIN_PER_STRATUM = 10, 4  # splits have about equally many small and large targets
MIN_STD, MAX_TARGET = 1e-30, 1e30  # float32 computes with numbers of 1e-38 to 1e38
LEAK_CORRELATION = 0.95  # of a target with a clue
MIN_CORRELATED = 20  # of fewer examples, chance correlations are high
NUM_SHOWN = 16
COVERAGE = 0.9  # fraction of true values inside of the predicted intervals
OUTLIER_DISTANCE = 10.0  # from the median, in interquartile ranges
UNITS = {"deg", "rad", "kg", "g", "mg", "km", "m", "cm", "mm", "um", "nm", "px", "s", "ms", "min", "h", "days", "years"}


class Regression(Task):
    """Predicts numbers: outputs (B, K) in the targets' units, Huber loss on standardised ones. Targets: float32 (N, K).

    Each prediction has an interval that contains the true value with a probability of 90%, by split conformal
    prediction on the validation split.
    """

    name = "regression"
    noun = "targets"
    columns = ("target", "target_*")
    networks = NETWORKS
    can_mix = True

    def __init__(
        self,
        labels: Sequence[str],
        units: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        radius: Sequence[float] | None = None,
    ) -> None:
        """Store what is known about the targets.

        Args:
            labels: Name of each target.
            units: Unit of each; empty if unknown.
            mean: Of each, over the training examples.
            std: Standard deviation of each, over the training examples.
            radius: Half of the width of each prediction's interval, in units; infinite ones are None in files.

        Raises:
            ValueError: if a list has not one valid value for each target, or a standard deviation is not positive.
        """
        super().__init__(labels)
        count = len(self.labels)
        self.units = list(units or [""] * count)
        self.mean, self.std = list(mean or [0.0] * count), list(std or [1.0] * count)
        self.radius = radius
        numbers = (self.mean, self.std, self.mean if radius is None else radius)
        is_valid = is_list_of(str, self.units, count) and all(is_list_of(float, each, count) for each in numbers)
        if not (is_valid and min(self.std) > 0 and min(radius or [0.0]) >= 0 and all(map(str.isprintable, self.units))):
            raise ValueError(f"units, mean, std or radius that do not fit {count} target(s)")

    @classmethod
    def from_texts(cls, texts: Sequence[str], source: TargetSource) -> "Regression":
        names = [column.removeprefix(PREFIX).strip() for column in source.columns]
        check_names(names)
        for text in texts:
            for name, cell in zip(names, split_cells(text, len(names)), strict=True):
                if not is_finite_number(cell):
                    raise UserError(
                        f"expected a finite number as target {name}; got {cell!r}; correct it in manifest.csv"
                    )
                if abs(float(cell)) > MAX_TARGET:
                    raise UserError(
                        f"expected targets {name} of at most {MAX_TARGET:g}; got {cell}; correct it, or choose a "
                        "larger unit in manifest.csv"
                    )
        if unknown := sorted(set(source.settings.units) - set(names)):
            raise UserError(
                f"expected units of the targets {', '.join(names)}; got one of {', '.join(unknown)}; correct units in "
                "configs/prepare.yaml"
            )
        units = [source.settings.units.get(name, find_unit(name)) for name in names]
        if wrong := [unit for unit in units if not unit.isprintable()]:
            raise UserError(f"expected units in one line; got {wrong[0]!r}; correct units in configs/prepare.yaml")
        return cls(names, units)

    def strata(self, texts: Sequence[str]) -> list[str]:
        values = parse(texts)[:, 0]
        ranks = np.searchsorted(np.unique(values), values) / max(1, len(np.unique(values)))
        num_strata = min(NUM_STRATA, max(1, len(values) // MIN_PER_STRATUM))
        return [str(int(rank * num_strata)) for rank in ranks]

    def find_issues(self, texts: Sequence[str]) -> list[str]:
        values = parse(texts)
        issues = []
        for name, column in zip(self.labels, values.T, strict=True):
            low, middle, high = np.quantile(column, [0.25, 0.5, 0.75])
            is_outlier = np.abs(column - middle) > OUTLIER_DISTANCE * (high - low)
            if column.min() == column.max():
                raise UserError(
                    f"expected targets that differ; every {name} is {column[0]:g}; there is nothing to learn"
                )
            if high > low and is_outlier.any():
                worst = column[np.abs(column - middle).argmax()]
                issues.append(
                    f"{int(is_outlier.sum())} targets {name} are far from all others (for example {worst:g}, where "
                    f"half of them lie between {low:g} and {high:g})"
                )
            value, count = max(zip(*np.unique(column, return_counts=True), strict=True), key=lambda pair: pair[1])
            if count > len(column) / 2:
                issues.append(f"{count} of {len(column)} targets {name} are {value:g}")
        return issues

    def find_leaks(self, texts: Sequence[str], clues: Mapping[str, np.ndarray]) -> list[str]:
        from scipy.stats import spearmanr

        return [
            f"{clue} almost tells the target {name} (rank correlation {correlation:.2f}): the model may learn it alone"
            for name, column in zip(self.labels, parse(texts).T, strict=True)
            for clue, values in clues.items()
            if len(values) >= MIN_CORRELATED
            for correlation in [float(spearmanr(column, values).statistic)]
            if abs(correlation) >= LEAK_CORRELATION
        ]

    def encode(self, text: str, file: TargetFile) -> np.ndarray:
        return np.array([float(cell) for cell in text.split(";")], np.float32)

    @property
    def dtype(self) -> str:
        return "float32"

    def rows_with(self, targets: np.ndarray, index: int) -> np.ndarray:
        """Return rows whose targets are evenly spaced, from the lowest to the highest."""
        order = np.argsort(targets[:, index], kind="stable")
        return order[np.linspace(0, len(order) - 1, min(len(order), NUM_SHOWN)).astype(int)]

    def fitted(self, targets: np.ndarray) -> "Regression":
        mean, std = targets.astype(np.float64).mean(axis=0), targets.astype(np.float64).std(axis=0)
        if not (std >= MIN_STD).all():
            name = self.labels[int(np.flatnonzero(std < MIN_STD)[0])]
            raise UserError(
                f"expected training targets that differ; every {name} is the same as a float32 number; add "
                "examples, or subtract a constant from all of them"
            )
        return Regression(self.labels, self.units, mean.tolist(), std.tolist())

    def facts(self) -> dict[str, Any]:
        facts = {"units": self.units, "mean": self.mean, "std": self.std}
        return facts | ({"radius": list(self.radius)} if self.radius else {})

    def make_output(self) -> "nn.Module":
        from leyden.tasks.destandardize import Destandardize

        return Destandardize(self.mean, self.std)

    def make_loss(self, options: LossOptions) -> "nn.Module":
        from leyden.tasks.destandardize import ScaledHuber

        refuse_options(options, self.name, "label_smoothing", "class_weights")
        return ScaledHuber(self.std)

    def make_scores(self, prefix: str) -> "MetricCollection":
        from torch.nn import functional as F
        from torchmetrics import MetricCollection

        from leyden.tasks.destandardize import ScaledHuber
        from leyden.tasks.mean_score import MeanScore

        return MetricCollection(
            {"loss": MeanScore(ScaledHuber(self.std)), "mae": MeanScore(F.l1_loss)}, compute_groups=False, prefix=prefix
        )

    def make_calibration(self) -> "Metric":
        from leyden.tasks.conformal import ConformalRadius

        return ConformalRadius(COVERAGE)

    def describe_calibration(self, values: "Tensor") -> dict[str, Any]:
        radius = values.reshape(-1).tolist()  # torchmetrics squeezes one value to a scalar
        return {"task": self.describe() | ({"radius": radius} if all(map(math.isfinite, radius)) else {})}

    def distance(self, outputs: "Tensor", others: "Tensor", temperature: float) -> "Tensor":
        """Return the Huber loss with the teacher's outputs as targets; the temperature has no effect."""
        from leyden.tasks.destandardize import ScaledHuber

        return ScaledHuber(self.std).to(outputs.device)(outputs, others)


def check_names(names: Sequence[str]) -> None:
    """Check that the columns of a table of predictions would have different names.

    Raises:
        UserError: if a name is blank or has line breaks, or is that of another column.
    """
    if wrong := [name for name in names if not name or not name.isprintable()]:
        raise UserError(
            f"expected a name in one line after {PREFIX} in manifest.csv; got {wrong[0]!r}; rename the column"
        )
    columns = [
        "path",
        "error",
        *(form.format(name) for form in ("{}", "{}_low", "{}_high", "true_{}") for name in names),
    ]
    if repeated := [column for column in columns if columns.count(column) > 1]:
        raise UserError(
            f"expected targets whose names are of no other column of predictions; got {repeated[0]} twice "
            "(path, error, and NAME, NAME_low, NAME_high, true_NAME of each target); rename a column of manifest.csv"
        )


def split_cells(text: str, count: int) -> list[str]:
    """Return the cells of a target; those of one text that is not a number may contain the separator."""
    cells = text.split(";")
    return cells if len(cells) == count else [*cells[: count - 1], text]


def parse(texts: Sequence[str]) -> np.ndarray:
    """Return targets as numbers, float64 (N, K)."""
    return np.array([[float(cell) for cell in text.split(";")] for text in texts])


def is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def find_unit(name: str) -> str:
    """Return the unit at the end of a target's name, as in `angle_deg`; empty if there is none."""
    last = name.rpartition("_")[2]
    return last if last in UNITS else ""


TASK = Regression
