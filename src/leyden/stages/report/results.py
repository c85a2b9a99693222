"""The results of all stages, from which the pages and the model card are made."""

from typing import NamedTuple

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.evaluation import Evaluation
from leyden.stages.report.explanations import Explanations
from leyden.stages.report.exports import Exports
from leyden.stages.report.training import Training


class Results(NamedTuple):
    """The results of each stage, None for one that was not run; data must have been prepared."""

    dataset: Dataset
    training: Training | None
    evaluation: Evaluation | None
    exports: Exports | None
    explanations: Explanations | None
