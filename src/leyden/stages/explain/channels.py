"""Which channels of a convolutional network the logit of each class depends on most: channels.csv."""

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
from leyden.models.layer_outputs import last_spatial_output, record_outputs
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.drawing import draw_map

BATCH_SIZE = 32  # captum takes two steps of each image at a time
NUM_STEPS = 32
COLUMNS = ("label", "images", "layer", "rank", "channel", "conductance", "share", "file")


def write_channels(folder: Path, module: Model, batch: Batch, num_channels: int) -> None:
    """List the channels with the largest conductance for each class, in the last layer with spatial dimensions.

    For each class, draws what its first channel responds to in one image: maps/channel-<class number>.png.

    Args:
        folder: Where channels.csv goes, with only its header if the network has no such layer; contains maps/.
        module: The model.
        batch: Test images.
        num_channels: Channels listed of each class; 0 leaves them out.
    """
    rows: list[dict[str, Any]] = []
    if num_channels and isinstance(module, ImageModel):
        layer = last_spatial_module(module.network, batch.inputs[0][:1])
        if layer:
            rows = list_channels(module, layer, batch, num_channels)
            draw_channels(folder, module, layer, batch, rows)
        else:
            print("explain: channels left out: the network has no layer with spatial dimensions")
    write_table(folder / CHANNELS, rows, COLUMNS)


def list_channels(module: ImageModel, layer: str, batch: Batch, count: int) -> list[dict[str, Any]]:
    """Return the rows of channels.csv, by class.

    `conductance` is the channel's mean in logits; `share` is its fraction of the sum of all channels' absolute values.
    """
    per_image = conductance(module.network, layer, batch.inputs[0], batch.targets).sum(dim=(2, 3))
    rows = []
    for label in batch.targets.unique().tolist():
        of_class = per_image[batch.targets == label]
        mean = of_class.mean(dim=0)
        for rank, channel in enumerate(mean.abs().argsort(descending=True, stable=True)[:count].tolist(), start=1):
            share = float(mean[channel] / mean.abs().sum().clamp(min=1e-12))
            rows.append(
                {
                    "label": module.labels[label],
                    "images": len(of_class),
                    "layer": layer,
                    "rank": rank,
                    "channel": channel,
                    "conductance": float(f"{mean[channel]:.6g}"),
                    "share": round(share, 4),
                    "file": f"maps/channel-{label}.png" if rank == 1 else "",
                }
            )
    return rows


def conductance(network: nn.Module, layer: str, inputs: Tensor, targets: Tensor) -> Tensor:
    """Attribute the targets' logits to a layer's outputs (N, C', H', W').

    The attributions of an image add up to its logit minus the logit of the mean colour.

    Source: Dhamdhere et al., "How important is a neuron?", 2018, definition 2.
    """
    method = LayerConductance(network, network.get_submodule(layer))
    batches = zip(inputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True)
    # The trapezoidal rule includes both ends of the path, so that attributions add up; the default rule's do not quite.
    options = {"n_steps": NUM_STEPS, "method": "riemann_trapezoid", "internal_batch_size": 2 * BATCH_SIZE}
    parts = [method.attribute(images, target=labels, **options) for images, labels in batches]
    return torch.cat(parts).detach().float()


def draw_channels(folder: Path, module: ImageModel, layer: str, batch: Batch, rows: list[dict[str, Any]]) -> None:
    """Draw what each class's first channel depends on, in the image and at the position of largest conductance."""
    method = NeuronConductance(module.network, module.network.get_submodule(layer))
    inputs = batch.inputs[0]
    for row in rows:
        if not row["file"]:
            continue
        label = module.labels.index(row["label"])
        of_class = (batch.targets == label).nonzero().squeeze(1)
        values = conductance(module.network, layer, inputs[of_class], batch.targets[of_class])[:, row["channel"]].abs()
        image, top, left = (int(index) for index in np.unravel_index(int(values.argmax()), values.shape))
        number = int(of_class[image])
        neuron = (row["channel"], top, left)
        attribution = method.attribute(inputs[[number]], neuron, target=label, n_steps=NUM_STEPS)
        draw_map(folder / row["file"], batch.examples[number], attribution[0].sum(dim=0).detach().numpy())


def last_spatial_module(network: nn.Module, inputs: Tensor) -> str | None:
    """Return the name of the last module whose output has spatial dimensions, containers included, if there is one."""
    modules = {name: module for name, module in network.named_modules() if name}
    with torch.no_grad():
        output = last_spatial_output(record_outputs(network, modules, inputs))
    return output and output.layer
