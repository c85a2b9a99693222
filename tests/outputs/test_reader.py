"""What is explained of outputs, what stays fixed meanwhile, and the response that deletion and insertion follow."""

import math

import numpy as np
import pytest
import torch

from leyden.errors import UserError
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader


def reader_of(task: str) -> OutputReader:
    return load_reader({"labels": ["a", "b"], "task": {"name": task}})


OUTPUTS = torch.tensor([[0.0, math.log(3)], [1.0, -1.0]])
CHANGED = torch.tensor([[-0.5, math.log(3)], [1.0, 1.0]])
# Two images of 1 x 3 pixels, of which the first has the classes a, b, b, and the second a alone.
LOGITS = torch.tensor([[[[3.0, 0.0, 1.0]], [[1.0, 2.0, 5.0]]], [[[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]]]])


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_a_vector_of_outputs_is_explained_as_it_is(task):
    reader = reader_of(task)
    assert torch.equal(reader.explained_outputs(CHANGED, reader.reference(OUTPUTS)), CHANGED)


def test_the_response_is_the_probability_of_each_class_or_label():
    readers = map(reader_of, ("classification", "multilabel"))
    classes, labels = (reader.response(OUTPUTS, reader.reference(OUTPUTS)) for reader in readers)
    torch.testing.assert_close(classes[0], torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(labels[0], torch.tensor([0.5, 0.75]))


def test_the_response_of_numbers_falls_with_the_distance_from_the_prediction_for_the_whole_input():
    reader = reader_of("regression")
    response = reader.response(CHANGED, reader.reference(OUTPUTS))
    torch.testing.assert_close(response, torch.tensor([[math.exp(-0.5), 1.0], [1.0, math.exp(-2)]]))


def test_the_sum_of_logits_is_over_the_pixels_that_were_predicted_as_the_class():
    reader = reader_of("segmentation")
    reference = reader.reference(LOGITS)
    assert reference.tolist() == [[[0, 1, 1]], [[0, 0, 0]]]
    assert reader.explained_outputs(LOGITS, reference).tolist() == [[3.0, 7.0], [6.0, 0.0]]
    swapped = LOGITS.flip(1)  # other classes are predicted, in the same regions
    assert reader.explained_outputs(swapped, reference).tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_the_response_of_pixels_is_the_mean_probability_in_the_region():
    reader = reader_of("segmentation")
    response = reader.response(LOGITS, reader.reference(LOGITS))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    in_first, in_second = [sigmoid(2), (sigmoid(2) + sigmoid(4)) / 2], [sum(map(sigmoid, (1, 2, 3))) / 3, 0.0]
    torch.testing.assert_close(response, torch.tensor([in_first, in_second]))


ERROR = False, (0.0, math.inf)
DIRECTIONS = {  # of the measures that are not fractions of which a higher one is better
    "classification": {},
    "multilabel": {"hamming_loss": (False, (0.0, 1.0))},
    "regression": {
        **{f"{name}/{label}": ERROR for name in ("mae", "rmse", "median_absolute_error") for label in "abc"},
        **dict.fromkeys(("r2", "r2/a", "r2/b", "r2/c"), (True, (-math.inf, 1.0))),
    },
    "segmentation": {},
    "ordinal": {"quadratic_kappa": (True, (-1.0, 1.0)), "mean_absolute_grade_error": (False, (0.0, 2.0))},
}


@pytest.mark.parametrize("task", DIRECTIONS)
def test_measures_have_different_names_directions_and_bounds(task):
    reader = load_reader({"labels": list("abc"), "task": {"name": task}})
    outputs = np.zeros((5, *reader.output_shape((4, 6))), np.float32)
    targets = reader.decide(outputs)
    measures = reader.measures(outputs, targets)
    assert len({measure.name for measure in measures}) == len(measures)
    found = {measure.name: (measure.higher_is_better, measure.bounds) for measure in measures}
    assert {name: each for name, each in found.items() if each != (True, (0.0, 1.0))} == DIRECTIONS[task]


def test_what_lowers_a_number_matters_but_evidence_against_a_class_does_not():
    maps = torch.tensor([[-2.0, 1.0]])
    assert reader_of("classification").importance(maps).tolist() == [[-2.0, 1.0]]
    assert reader_of("regression").importance(maps).tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize("name", ["reader", "number_format", "detection", "", "../tasks/regression"])
def test_a_description_of_an_unknown_task_is_refused(name):
    with pytest.raises(UserError, match="expected a known task"):
        load_reader({"labels": ["a"], "task": {"name": name}})
