"""Explain a model of sequences: methods that attribute logits to time steps, and what is measured of their maps."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from captum.attr import IntegratedGradients, Occlusion, Saliency
from torch import Tensor, nn

from leyden.errors import UserError
from leyden.outputs.reader import OutputReader
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.drawing import draw_steps
from leyden.stages.explain.faithfulness import deletion_insertion_auc, rank_similarity
from leyden.stages.explain.network import ExplainedOutputs, NotApplicableError

BATCH_SIZE = 64
NUM_STEPS = 32  # of integrated gradients


@dataclass(frozen=True)
class SequenceExplainer:
    """Explain sequences (N, T, F) by their time steps; a deleted step becomes 0, the training set's mean."""

    network: nn.Module
    reader: OutputReader
    num_steps: int
    seed: int

    def map_shape(self, batch: Batch) -> tuple[int, ...]:
        return tuple(batch.inputs[0].shape[:2])

    def attribute(self, method: str, batch: Batch) -> Tensor:
        """Attribute the targets' outputs to time steps: float32 (N, T), summed over features, 0 at padding."""
        if method not in METHODS:
            raise NotApplicableError(f"applies to images only; sequences have {', '.join(METHODS)}")
        tensors = (*batch.inputs, batch.targets, batch.reference)
        batches = zip(*(each.split(BATCH_SIZE) for each in tensors), strict=True)
        network = ExplainedOutputs(self.network, self.reader)
        maps = [METHODS[method](network, *parts) for parts in batches]
        return torch.cat(maps).detach().sum(dim=2).float().masked_fill(is_padding(*batch.inputs), 0)

    def deletion_insertion_auc(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Delete and insert time steps, as fractions of each sequence's own length."""
        values, lengths = batch.inputs
        scores = self.reader.importance(maps).masked_fill(is_padding(values, lengths), -torch.inf)  # padding comes last
        order = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return deletion_insertion_auc(
            lambda hidden: self.reader.response(
                self.network(values.masked_fill(hidden[..., None], 0), lengths), batch.reference
            ),
            order,
            lengths,
            batch.targets,
            self.num_steps,
        )

    def similarity(self, batch: Batch, maps: Tensor, other_maps: Tensor) -> float:
        """Return the mean over sequences, each without its padding."""
        rows = enumerate(batch.inputs[1].tolist())
        return float(np.mean([rank_similarity(maps[[row], :end], other_maps[[row], :end]) for row, end in rows]))

    def extra_metrics(self, method: str, batch: Batch, maps: Tensor) -> dict[str, float]:
        return {}

    def describe_layer(self, method: str) -> str:
        return ""

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        return dict(zip(("values", "lengths"), batch.examples, strict=True))

    def draw(self, path: Path, batch: Batch, row: int, values: np.ndarray | None = None, method: str = "") -> None:
        sequences, lengths = batch.inputs
        length = int(lengths[row])
        draw_steps(path, sequences[row, :length].numpy(), None if values is None else values[:length])


def is_padding(values: Tensor, lengths: Tensor) -> Tensor:
    """Return which time steps of values (N, T, F) lie after the end of their sequence: bool (N, T)."""
    return torch.arange(values.shape[1]) >= lengths[:, None]


def check_sequence_methods(names: list[str]) -> None:
    """Raise UserError if sequences have none of the methods; with one at least, the others are reported as refused."""
    if names and not METHODS.keys() & set(names):
        raise UserError(
            f"expected a method for sequences, {', '.join(METHODS)}; got {', '.join(names)}; "
            "set methods in configs/explain.yaml"
        )


def integrated_gradients(
    network: nn.Module, values: Tensor, lengths: Tensor, targets: Tensor, reference: Tensor
) -> Tensor:
    """Source: Sundararajan et al., 2017. The baseline is 0: the training set's mean of each feature."""
    return IntegratedGradients(network).attribute(
        values,
        target=targets,
        additional_forward_args=(lengths, reference),
        n_steps=NUM_STEPS,
        internal_batch_size=BATCH_SIZE,
    )


def saliency(network: nn.Module, values: Tensor, lengths: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Simonyan et al., 2014. Absolute gradients: they do not show whether a step supports the class or not."""
    return Saliency(network).attribute(
        values.clone().requires_grad_(), target=targets, additional_forward_args=(lengths, reference)
    )


def occlusion(network: nn.Module, values: Tensor, lengths: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Zeiler and Fergus, 2014. Set a sliding window to the mean.

    The window is an eighth of the sequence's own length, and moves by half of itself.
    """
    maps = torch.zeros_like(values)
    for row, length in enumerate(lengths.tolist()):
        window = max(1, round(length / 8))
        maps[row, :length] = Occlusion(network).attribute(
            values[row, None, :length],
            target=targets[row, None],
            additional_forward_args=(lengths[row, None], reference[row, None]),
            sliding_window_shapes=(window, values.shape[2]),
            strides=(max(1, window // 2), values.shape[2]),
            perturbations_per_eval=16,
        )[0]
    return maps


METHODS = {"integrated_gradients": integrated_gradients, "saliency": saliency, "occlusion": occlusion}
