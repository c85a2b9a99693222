"""Maps of a number, and of a class of pixels, find the patch that determines them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.models import ResNet, UNet
from leyden.outputs.reader import OutputReader
from leyden.outputs.regression import RegressionReader
from leyden.outputs.segmentation import SegmentationReader
from leyden.stages.explain.batch import Batch, find_reference
from leyden.stages.explain.faithfulness import random_map_auc
from leyden.stages.explain.images import ImageExplainer
from leyden.stages.explain.methods import METHODS, UNSIGNED
from leyden.stages.explain.network import ExplainedNetwork
from tests.stages.explain.patch_set import PatchSet, fraction_by_chance, fraction_inside, train

COUNT = 16
# Left out: the network's gradients at the images, and its bottleneck, do not show what its pixels' logits depend on.
DENSE_METHODS = [
    name
    for name in METHODS
    if name not in ("input_x_gradient", "grad_cam", "guided_grad_cam", "feature_ablation", "attention_rollout")
]


def number_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Train for -1 or 1."""
    return F.mse_loss(outputs[:, 0], 2.0 * labels - 1)


def pixel_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Train each pixel, however far from the patch, for the class of the patch."""
    return F.cross_entropy(outputs, labels[:, None, None].expand(-1, *outputs.shape[2:]))


def explain_patches(network: nn.Module, reader: OutputReader, patches: PatchSet) -> tuple[ImageExplainer, Batch]:
    images = patches.images[:COUNT]
    with torch.no_grad():
        targets = torch.tensor([first for first, *_ in reader.explained_labels(network(images).numpy())])
    explainer = ImageExplainer(ExplainedNetwork(network, images, reader), num_steps=8, seed=0)
    return explainer, Batch(None, (images,), targets, find_reference(network, reader, images))


@pytest.fixture(scope="module")
def number(patches) -> tuple[ImageExplainer, Batch]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(ResNet(1, 1, (16, 16), width=8, depths=(1, 1)), 60, number_loss)
    return explain_patches(network, RegressionReader(["slope"]), patches)


@pytest.fixture(scope="module")
def pixels(patches) -> tuple[ImageExplainer, Batch]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(UNet(1, 2, width=8), 60, pixel_loss)
    return explain_patches(network, SegmentationReader(["vertical", "horizontal"]), patches)


def check_finds_the_patch(name: str, explainer: ImageExplainer, batch: Batch, patches: PatchSet) -> None:
    maps, inside = explainer.attribute(name, batch), patches.inside[:COUNT]
    important = explainer.network.reader.importance(maps)
    elsewhere = fraction_inside(important.roll(1, 0), inside)
    factor = 1.2 if name in UNSIGNED else 2
    assert fraction_inside(important, inside) > factor * max(fraction_by_chance(inside), elsewhere)
    deletion, insertion = explainer.deletion_insertion_auc(batch, maps)
    random_deletion, random_insertion = random_map_auc(explainer, batch)
    assert ((random_deletion - deletion) + (insertion - random_insertion)).mean() / 2 > 0.05


@pytest.mark.parametrize("name", [name for name in METHODS if name != "attention_rollout"])
def test_the_patch_that_determines_a_number_is_found(name, number, patches):
    check_finds_the_patch(name, *number, patches)


@pytest.mark.parametrize("name", DENSE_METHODS)
def test_the_patch_that_determines_the_class_of_all_pixels_is_found(name, pixels, patches):
    check_finds_the_patch(name, *pixels, patches)


def test_both_signs_matter_to_a_number(number):
    explainer, batch = number
    maps = explainer.attribute("integrated_gradients", batch)
    totals = maps.sum(dim=(1, 2))
    assert totals.min() < -0.5
    assert totals.max() > 0.5
    for area, opposite in zip(
        explainer.deletion_insertion_auc(batch, maps), explainer.deletion_insertion_auc(batch, -maps), strict=True
    ):
        torch.testing.assert_close(area, opposite)


def test_the_maps_of_pixels_add_up_over_the_region_of_the_whole_image(pixels):
    explainer, batch = pixels
    (images,) = batch.inputs
    with torch.no_grad():
        logits, baseline = (explainer.network.original(each) for each in (images, torch.zeros_like(images)))
    region = logits.argmax(dim=1) == batch.targets[:, None, None]
    expected = ((logits - baseline)[range(COUNT), batch.targets] * region).sum(dim=(1, 2))
    maps = explainer.attribute("deep_lift", batch)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), expected, rtol=1e-3, atol=0.05)
    assert explainer.extra_metrics("deep_lift", batch, maps)["completeness_error"] < 1e-3


def test_a_randomised_network_is_explained_in_the_region_of_the_trained_one(pixels):
    explainer, batch = pixels
    torch.manual_seed(0)
    reader = explainer.network.reader
    randomised = ImageExplainer(ExplainedNetwork(UNet(1, 2, width=8).eval(), batch.inputs[0], reader), 8, 0)
    maps = randomised.attribute("saliency", batch)
    assert (maps.amax(dim=(1, 2)) > 0).all()  # its own predictions may have no pixel of the class


def test_grad_cam_reads_the_end_of_the_encoder(pixels):
    explainer, _ = pixels
    assert explainer.describe_layer("grad_cam") == "; reads layer dropout, 2 x 2"
