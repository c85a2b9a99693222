"""How much faster `leyden explain` computes integrated gradients than Captum's tutorial, and how similar the maps are.

The tutorial: the network as it was trained, float32, image by image, 50 steps in one call. Leyden: norms folded into
convolutions, frozen weights, batches that fit in the cache, and 16 steps: with Gauss-Legendre quadrature, 34 more
change the ranks of the pixels little. bfloat16 is not used: on ResNet-18 its rounding costs more rank correlation
(0.973) than everything else. Both run alternately on the same images of the sample's test split; ResNet-18 at 64x64
gets them enlarged, after a short training.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from timing import Row, project, time_once

REPEATS = 3
NUM_IMAGES, TUTORIAL_STEPS = 256, 50
RESNET18 = ["-c", "configs/train.yaml", "-c", "configs/experiment/torchvision.yaml", "--trainer.max_epochs=3"]


def measure() -> list[Row]:
    with project() as small, project() as large:
        for folder in (small, large):
            time_once(["leyden", "sample"], folder)
        time_once(["leyden", "prepare"], small)
        time_once(["leyden", "fit"], small)
        time_once(["leyden", "prepare", "-c", "configs/prepare.yaml", "--image_size=[64,64]"], large)
        time_once(["leyden", "fit", *RESNET18], large)
        rows = []
        for name, folder in (("integrated_gradients", small), ("integrated_gradients_resnet18", large)):
            rows += compare_ways(name, *read_inputs(folder))
        return rows


def read_inputs(folder: Path) -> tuple[nn.Module, Tensor]:
    """Return the trained network and preprocessed test images."""
    from leyden.data.packed import read_split
    from leyden.models.checkpoint import load_checkpoint
    from leyden.models.image_model import ImageModel
    from leyden.stages.explain.batch import preprocess

    module = load_checkpoint(folder / "artifacts/train/model.ckpt")
    assert isinstance(module, ImageModel)
    images = read_split(folder / "artifacts/prepare", "test").images[:NUM_IMAGES]
    return module.network, preprocess(module, images)[0]


def compare_ways(name: str, network: nn.Module, inputs: Tensor) -> list[Row]:
    """Time both alternately; return a row of images per second and one of the maps' rank correlation."""
    from captum.attr import IntegratedGradients

    from leyden.outputs.classification import ClassificationReader
    from leyden.stages.explain.faithfulness import rank_similarity
    from leyden.stages.explain.methods import attribute
    from leyden.stages.explain.network import ExplainedNetwork

    with torch.no_grad():
        logits = torch.cat([network(batch) for batch in inputs.split(64)])
        targets = logits.argmax(1)
    reader = ClassificationReader([str(label) for label in range(logits.shape[1])])

    def tutorial() -> Tensor:
        method = IntegratedGradients(network)
        pairs = zip(inputs.split(1), targets.tolist(), strict=True)
        return (
            torch.cat(
                [method.attribute(image, target=target, n_steps=TUTORIAL_STEPS).detach() for image, target in pairs]
            )
            .float()
            .sum(1)
        )

    def leyden_way() -> Tensor:
        explained = ExplainedNetwork(network, inputs, reader)
        return attribute("integrated_gradients", explained, inputs, targets, logits, seed=0)

    correlation = rank_similarity(leyden_way(), tutorial())
    value, usual = (len(inputs) / seconds for seconds in alternate(leyden_way, tutorial))
    return [
        Row(name, round(value, 1), "images/s", round(usual, 1), round(value / usual, 2), "at least 2.5x", REPEATS),
        Row(f"{name}_rank_correlation", round(correlation, 4), "mean", None, None, "at least 0.99", 1),
    ]


def alternate(*functions: Callable[[], Tensor]) -> list[float]:
    """Return the median seconds of each, run alternately."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for function, seconds in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in times]
