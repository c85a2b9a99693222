"""Methods that replace parts of the image by the training set's mean colour, and measure the change of the logit."""

from typing import Any

import torch
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from torch import Tensor

from leyden.stages.explain.network import ExplainedNetwork

NUM_SAMPLES = 128  # random sets of cells for the methods that fit a linear model, which has CELLS ** 2 weights
CELLS, FINE_CELLS = 4, 8  # per side of the grid


def occlusion(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Zeiler and Fergus, 2014. A window of a quarter of the side, moved by half of it."""
    window = tuple(max(1, round(side / 4)) for side in inputs.shape[2:])
    stride = tuple(max(1, side // 2) for side in window)
    channels = inputs.shape[1]
    with torch.no_grad():
        return Occlusion(network).attribute(
            inputs,
            target=targets,
            additional_forward_args=reference,
            sliding_window_shapes=(channels, *window),
            strides=(channels, *stride),
        )


def feature_ablation(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Blank the cells of a grid of 8 x 8 one by one."""
    return attribute_cells(FeatureAblation(network), FINE_CELLS, inputs, targets, reference)


def kernel_shap(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Lundberg and Lee, 2017. Shapley values of the cells of a grid of 4 x 4, by least squares."""
    return attribute_cells(
        KernelShap(network),
        CELLS,
        inputs,
        targets,
        reference,
        n_samples=NUM_SAMPLES,
        perturbations_per_eval=network.batch_size,
    )


def lime(network: ExplainedNetwork, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Source: Ribeiro et al., 2016. A sparse linear model of the cells of a grid of 4 x 4."""
    return attribute_cells(
        Lime(network),
        CELLS,
        inputs,
        targets,
        reference,
        n_samples=NUM_SAMPLES,
        perturbations_per_eval=network.batch_size,
    )


def attribute_cells(
    method: Any, cells: int, inputs: Tensor, targets: Tensor, reference: Tensor, **options: int
) -> Tensor:
    """Attribute to the cells of a grid, and divide a cell's value among its pixels and channels."""
    rows, columns = (torch.arange(side) * min(cells, side) // side for side in inputs.shape[2:])
    mask = (rows[:, None] * min(cells, inputs.shape[3]) + columns)[None, None]  # number of the cell, (1, 1, H, W)
    with torch.no_grad():
        maps = method.attribute(
            inputs.detach(), target=targets, additional_forward_args=(reference,), feature_mask=mask, **options
        )
    return maps / (torch.bincount(mask.flatten())[mask] * inputs.shape[1])  # Captum assigns all of it to each
