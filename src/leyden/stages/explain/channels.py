"""Which channels of a convolutional network the output of each label depends on most: channels.csv."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerConductance, NeuronConductance
from torch import Tensor, nn

from leyden.artifacts import CHANNELS
from leyden.files.tables import write_table
from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.models.layer_outputs import record_outputs
from leyden.outputs.reader import OutputReader
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.drawing import draw_map
from leyden.stages.explain.network import ExplainedOutputs, deepest_spatial_output

BATCH_SIZE = 32  # captum takes two steps of each image at a time
NUM_STEPS = 32
COLUMNS = ("label", "images", "layer", "rank", "channel", "conductance", "share", "file")


def write_channels(folder: Path, module: Model, reader: OutputReader, batch: Batch, num_channels: int) -> None:
    """List the channels with the largest conductance for each label that is explained, in one layer.

    It is the last layer with spatial dimensions; for outputs with a value per pixel, that of the lowest resolution.
    For each label, draws what its first channel responds to in one image: maps/channel-<label's number>.png. With 0
    channels, or without such a layer, channels.csv has only its header.
    """
    rows: list[dict[str, Any]] = []
    if num_channels and isinstance(module, ImageModel):
        if layer := last_spatial_module(module.network, batch.inputs[0][:1], reader.is_dense):
            network = ExplainedOutputs(module.network, reader)
            rows = list_channels(folder, module.labels, network, layer, batch, num_channels)
        else:
            print("explain: channels left out: the network has no layer with spatial dimensions")
    write_table(folder / CHANNELS, rows, COLUMNS)


def list_channels(
    folder: Path, labels: list[str], network: ExplainedOutputs, layer: str, batch: Batch, count: int
) -> list[dict[str, Any]]:
    """Return the rows of channels.csv, by label, and draw each label's first channel.

    `conductance` is the channel's mean in the unit of the network's outputs (logits, or standard deviations of a
    number); `share` is its fraction of the sum of all channels' absolute values.
    """
    per_image = conductance(network, layer, batch.inputs[0], batch.targets, batch.reference).sum(dim=(2, 3))
    rows = []
    for label in batch.targets.unique().tolist():
        indices = (batch.targets == label).nonzero().squeeze(1)
        mean = per_image[indices].mean(dim=0)
        channels = mean.abs().argsort(descending=True, stable=True)[:count].tolist()
        file = f"maps/channel-{label}.png"
        draw_channel(folder / file, network, layer, batch, indices, channels[0])
        for rank, channel in enumerate(channels, start=1):
            rows.append(
                {
                    "label": labels[label],
                    "images": len(indices),
                    "layer": layer,
                    "rank": rank,
                    "channel": channel,
                    "conductance": float(f"{mean[channel]:.6g}"),
                    "share": round(float(mean[channel] / mean.abs().sum().clamp(min=1e-12)), 4),
                    "file": file if rank == 1 else "",
                }
            )
    return rows


def conductance(network: ExplainedOutputs, layer: str, inputs: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Attribute the targets' outputs to a layer's outputs (N, C', H', W').

    The attributions of an image add up to the target's output minus that of the mean colour.

    Source: Dhamdhere et al., "How important is a neuron?", 2018, definition 2.
    """
    method = LayerConductance(network, network.network.get_submodule(layer))
    batches = zip(*(each.split(BATCH_SIZE) for each in (inputs, targets, reference)), strict=True)
    # The trapezoidal rule includes both ends of the path, so that attributions add up; the default rule's do not quite.
    options = {"n_steps": NUM_STEPS, "method": "riemann_trapezoid", "internal_batch_size": 2 * BATCH_SIZE}
    parts = [
        method.attribute(images, target=labels, additional_forward_args=fixed, **options)
        for images, labels, fixed in batches
    ]
    return torch.cat(parts).detach().float()


def draw_channel(
    path: Path, network: ExplainedOutputs, layer: str, batch: Batch, indices: Tensor, channel: int
) -> None:
    """Draw what a channel depends on, in the one of some images and at the position of largest conductance."""
    inputs, targets, reference = batch.inputs[0], batch.targets, batch.reference
    values = conductance(network, layer, inputs[indices], targets[indices], reference[indices])[:, channel]
    image, top, left = (int(index) for index in np.unravel_index(int(values.abs().argmax()), values.shape))
    number = int(indices[image])
    method = NeuronConductance(network, network.network.get_submodule(layer))
    attribution = method.attribute(
        inputs[[number]],
        (channel, top, left),
        target=int(targets[number]),
        additional_forward_args=reference[[number]],
        n_steps=NUM_STEPS,
    )
    draw_map(path, batch.examples[number], attribution[0].sum(dim=0).detach().numpy(), network.reader.evidence)


def last_spatial_module(network: nn.Module, inputs: Tensor, is_dense: bool) -> str | None:
    """Return the module, containers included, with the `deepest_spatial_output`, by name, if there is one."""
    modules = {name: module for name, module in network.named_modules() if name}
    with torch.no_grad():
        output = deepest_spatial_output(record_outputs(network, modules, inputs), is_dense)
    return output and output.layer
