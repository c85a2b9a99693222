"""Ordinal classification: each example has one of several grades, which have an order."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.errors import UserError
from leyden.files.tables import read_user_table
from leyden.tasks.classification import Classification
from leyden.tasks.regression import is_finite_number
from leyden.tasks.targets import LossOptions, TargetSource

if TYPE_CHECKING:
    from torch import nn
    from torchmetrics import MetricCollection

GRADES = "grades.csv"


class Ordinal(Classification):
    """Predicts the grade of an example: classification in which a distant grade is worse than a neighbour.

    Labels are in the grades' order: that of `grades.csv` in the data folder, or that of numbers.
    """

    name = "ordinal"
    noun = "grades"
    columns = ("grade",)
    label_files = (GRADES,)

    @classmethod
    def from_texts(cls, texts: Sequence[str], source: TargetSource) -> "Ordinal":
        found, path = super().from_texts(texts, source).labels, source.data / GRADES
        if not os.path.lexists(path):  # a broken link is an error
            return cls(sort_numbers(found, path))
        grades = read_grades(path)
        if unknown := sorted(set(found) - set(grades)):
            raise UserError(
                f"expected the grades of {path} ({', '.join(grades)}); got {unknown[0]!r}; correct it, or add it there"
            )
        if unused := [grade for grade in grades if grade not in found]:
            raise UserError(
                f"expected examples of every grade of {path}; got none of {unused[0]!r}; add some, or remove its row"
            )
        return cls(grades)

    def make_loss(self, options: LossOptions) -> "nn.Module":
        from leyden.tasks.cross_entropy import weigh_classes
        from leyden.tasks.ordinal_loss import OrdinalCrossEntropy

        weights = weigh_classes(options.class_weights, self.labels, options.class_counts)
        return OrdinalCrossEntropy(len(self.labels), weights, options.label_smoothing or 0.0)

    def make_scores(self, prefix: str) -> "MetricCollection":
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassCohenKappa

        from leyden.tasks.mean_score import MeanScore

        count = len(self.labels)
        return MetricCollection(
            {
                "loss": MeanScore(self.make_loss(LossOptions())),
                "accuracy": MulticlassAccuracy(count, average="micro"),
                "quadratic_kappa": MulticlassCohenKappa(count, weights="quadratic"),
            },
            compute_groups=False,
            prefix=prefix,
        )


def sort_numbers(grades: Sequence[str], path: Path) -> list[str]:
    """Return grades that are numbers in their order.

    Raises:
        UserError: if one is not a number, or two are equal; `path` is the file that would say the order.
    """
    if words := [grade for grade in grades if not is_finite_number(grade)]:
        raise UserError(
            f"expected grades that are numbers, or {path} with their order; got {words[0]!r} and no such file; write "
            "it: a column grade, the lowest one first"
        )
    if len(set(map(float, grades))) < len(grades):
        raise UserError(f"expected one spelling of each grade; got {', '.join(grades)}; correct manifest.csv")
    return sorted(grades, key=float)


def read_grades(path: Path) -> list[str]:
    """Return the column `grade` of a table.

    Raises:
        UserError: if it is not a table with this column, or a grade is blank or occurs twice.
    """
    header, *rows = read_user_table(path) or [[]]
    names = [name.strip().lower() for name in header]
    if names.count("grade") != 1:
        raise UserError(f"expected one column grade in {path}; got {','.join(names)[:200]!r}; correct its first line")
    index = names.index("grade")
    cells = [row[index] if index < len(row) else "" for row in rows if any(row)]
    grades = [unicodedata.normalize("NFC", cell).strip() for cell in cells]
    if not all(grades) or len(set(grades)) < len(grades):
        raise UserError(f"expected each grade once in {path}; got {', '.join(grades)[:200]}; correct it")
    return grades


TASK = Ordinal
