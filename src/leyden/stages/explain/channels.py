"""Which channels of a convolutional network a class is read from: channels.csv, and what each class's first one sees."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerConductance, NeuronConductance
from torch import Tensor, nn

from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.stages.explain.draw import draw_map
from leyden.stages.explain.inputs import inputs_of
from leyden.stages.explain.tables import Row, write_table

BATCH_SIZE = 32  # captum takes two steps of each image at a time
NUM_STEPS = 32
COLUMNS = ("label", "images", "layer", "rank", "channel", "conductance", "share", "file")


def write_channels(folder: Path, module: Model, images: Any, predicted: Tensor, num_channels: int) -> None:
    """List each class's channels that its logit flows through, of the last layer that still has places.

    Draws for each class what the first of them sees in one image: maps/channel-<class number>.png.

    Args:
        folder: Where channels.csv goes, with a header alone where nothing can be told, and maps/ is.
        module: The model.
        images: Test images uint8 (N, H, W, C).
        predicted: The labels (N,) that the model gave them.
        num_channels: Channels listed of each class; 0 leaves them out.
    """
    rows: list[Row] = []
    if num_channels and isinstance(module, ImageModel):
        inputs = inputs_of(module, images)[0]
        layer = last_spatial_layer(module.network, inputs[:1])
        if layer:
            rows = list_channels(module, layer, inputs, predicted, num_channels)
            draw_channels(folder, module, layer, inputs, images, predicted, rows)
        else:
            print("explain: without channels, which are of convolutional networks")
    write_table(folder / "channels.csv", rows, COLUMNS)


def list_channels(module: ImageModel, layer: str, inputs: Tensor, predicted: Tensor, count: int) -> list[Row]:
    """Give the rows of channels.csv, by class: a channel's mean conductance in logits, and its share of all, whatever their signs."""
    flows = conductance(module.network, layer, inputs, predicted).sum(dim=(2, 3))
    rows = []
    for label in predicted.unique().tolist():
        own = flows[predicted == label]
        mean = own.mean(dim=0)
        for rank, channel in enumerate(mean.abs().argsort(descending=True, stable=True)[:count].tolist(), start=1):
            share = float(mean[channel] / mean.abs().sum().clamp(min=1e-12))
            rows.append(
                {
                    "label": module.labels[label],
                    "images": len(own),
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
    """Attribute the targets' logits to a layer's values (N, C', H', W'); they add up to what the logit gains over the mean colour's.

    Source: Dhamdhere et al., "How important is a neuron?", 2018, definition 2.
    """
    method = LayerConductance(network, network.get_submodule(layer))
    batches = zip(inputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True)
    # The trapezoid's steps begin and end at the ends of the path, so that what is found adds up; the default's do not quite.
    options = {"n_steps": NUM_STEPS, "method": "riemann_trapezoid", "internal_batch_size": 2 * BATCH_SIZE}
    found = [method.attribute(part, target=own, **options) for part, own in batches]
    return torch.cat(found).detach().float()


def draw_channels(
    folder: Path, module: ImageModel, layer: str, inputs: Tensor, images: Any, predicted: Tensor, rows: list[Row]
) -> None:
    """Draw through which pixels each class's first channel speaks at its most telling place, in the image where it says most."""
    method = NeuronConductance(module.network, module.network.get_submodule(layer))
    for row in rows:
        if not row["file"]:
            continue
        label = module.labels.index(row["label"])
        own = (predicted == label).nonzero().squeeze(1)
        flows = conductance(module.network, layer, inputs[own], predicted[own])[:, row["channel"]].abs()
        chosen, top, left = (int(index) for index in np.unravel_index(int(flows.argmax()), flows.shape))
        number = int(own[chosen])
        found = method.attribute(inputs[[number]], (row["channel"], top, left), target=label, n_steps=NUM_STEPS)
        draw_map(folder / row["file"], images[number], found[0].sum(dim=0).detach().numpy())


def last_spatial_layer(network: nn.Module, inputs: Tensor) -> str | None:
    """Name the last part of a network that gives values (B, C, H, W) of more than one place, if it has one."""
    found: list[str] = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found.append(name)

    handles = [
        part.register_forward_hook(lambda part, _, output, name=name: note(name, output))
        for name, part in network.named_modules()
        if name
    ]
    with torch.no_grad():
        network(inputs)
    for handle in handles:
        handle.remove()
    return found[-1] if found else None
