"""Scores that are means over the examples: losses, and whether the label is among the most probable classes."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leyden.stages.evaluate.predictions import Predictions


class Losses(NamedTuple):
    """A loss of each example, float64 (N,), and its first two moments if the model's probabilities are correct."""

    values: np.ndarray
    expected: float
    expected_square: float


class ExampleScores(NamedTuple):
    """`is_in_top` is a bool (N,)."""

    log_loss: Losses
    brier_score: Losses
    is_in_top: np.ndarray


def score_examples(predictions: Predictions, top_k: int) -> ExampleScores:
    """Score each example, in blocks: memory does not grow with N * K."""
    # One allocation, ahead of the blocks' temporary values: small ones in between would keep the heap from shrinking.
    scores = torch.empty(7, len(predictions.labels), dtype=torch.float64)
    start = 0
    for log_probabilities, labels in predictions.blocks():
        scores[:, start : start + len(labels)] = torch.stack(score_block(log_probabilities, labels, top_k))
        start += len(labels)
    log_loss, brier_score, is_in_top, *moments = scores.numpy()
    means = [float(moment.mean()) for moment in moments]
    return ExampleScores(Losses(log_loss, *means[:2]), Losses(brier_score, *means[2:]), is_in_top == 1)


def score_block(log_probabilities: Tensor, labels: Tensor, top_k: int) -> tuple[Tensor, ...]:
    """Score log-probabilities (B, K) of labels (B,).

    Returns:
        Log loss, Brier score, whether the label is among the top k, and the moments of both losses; all float64 (B,).
    """
    all_log_losses = -log_probabilities.double()  # in float32, the losses of a confident model are all 0
    probabilities = (-all_log_losses).exp()
    sum_of_squares = probabilities.square().sum(dim=1, keepdim=True)
    all_brier_scores = sum_of_squares - 2 * probabilities + 1  # (B, K): if the label were that class
    label = labels[:, None]
    top = log_probabilities.topk(min(top_k, log_probabilities.shape[1])).indices
    moments = (
        (probabilities * losses**power).nan_to_num().sum(dim=1)  # 0 * inf where p is 0
        for losses in (all_log_losses, all_brier_scores)
        for power in (1, 2)
    )
    chosen = (losses.gather(1, label)[:, 0] for losses in (all_log_losses, all_brier_scores))
    return (*chosen, (top == label).any(dim=1).double(), *moments)


def event_size(losses: Losses) -> float:
    """Return the variance of a loss divided by its mean; at least what it is if the probabilities are correct.

    A test split without an error does not show how large the loss of an error is; the probabilities do.
    """
    mean, variance = float(losses.values.mean()), float(losses.values.var())
    expected = losses.expected_square / losses.expected - losses.expected if losses.expected > 0 else 0.0
    return max(variance / mean if mean > 0 else 0.0, expected)
