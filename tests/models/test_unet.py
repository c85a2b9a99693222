"""The U-Net labels each pixel of images of any size, learns, and its weights keep their names."""

import pytest
import torch
from torch.nn import functional as F

from leyden.models import UNet


@pytest.mark.parametrize(("size", "channels"), [((1, 1), 1), ((2, 7), 3), ((21, 33), 4), ((32, 32), 1)])
def test_logits_have_the_size_of_the_images(size, channels):
    network = UNet(channels, 5, width=4).eval()
    assert network(torch.randn(2, channels, *size)).shape == (2, 5, *size)


def test_width_and_depth_determine_the_layers():
    network, sizes = UNet(1, 2, width=4, depth=2), []
    for block in network.encoder:
        block.register_forward_hook(lambda *args: sizes.append(tuple(args[2].shape[1:])))
    network(torch.randn(2, 1, 10, 9))
    assert sizes == [(4, 10, 9), (8, 5, 5), (16, 3, 3)]


def test_names_of_the_weights():
    """Checkpoints hold them."""
    parameters = {name for name, _ in UNet(1, 2, width=4, depth=1).named_parameters()}
    blocks = ("encoder.0", "encoder.1", "decoder.0.convolve")
    assert parameters == {
        *(f"{block}.{layer}.0.weight" for block in blocks for layer in (0, 2)),
        *(f"{block}.{layer}.1.{kind}" for block in blocks for layer in (0, 2) for kind in ("weight", "bias")),
        *(f"{layer}.{kind}" for layer in ("decoder.0.reduce", "head") for kind in ("weight", "bias")),
    }


def test_each_pixel_sees_fine_and_coarse_features():
    """The logits of a pixel depend on its neighbour, and on pixels that only the lowest resolution reaches."""
    torch.manual_seed(0)
    network = UNet(1, 2, width=4, depth=3).eval()
    images = torch.randn(1, 1, 48, 48, requires_grad=True)
    network(images)[0, 0, 24, 24].backward()
    assert images.grad is not None
    reached = images.grad[0, 0].ne(0).nonzero()
    assert images.grad[0, 0, 24, 24] != 0
    assert reached.amin() <= 6
    assert reached.amax() >= 42


def test_dropout_changes_the_logits_in_training_only():
    torch.manual_seed(0)
    network, images = UNet(1, 2, width=4, dropout=0.5), torch.randn(4, 1, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def make_squares():
    """Draw 8 noisy images (8, 1, 18, 18) of a bright and a dark square, and their masks, int64 (8, 18, 18)."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(8, 1, 18, 18, generator=generator)
    masks = torch.zeros(8, 18, 18, dtype=torch.int64)
    for image, mask in zip(images, masks, strict=True):
        for label, shade in ((1, 1.0), (2, -1.0)):
            top, left = torch.randint(0, 12, (2,), generator=generator).tolist()
            image[0, top : top + 6, left : left + 6] += shade
            mask[top : top + 6, left : left + 6] = label
    return images, masks


def test_it_learns_a_batch_by_heart():
    torch.manual_seed(0)
    network, (images, masks) = UNet(1, 3, width=8, depth=2), make_squares()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(network(images), masks).backward()
        optimizer.step()
    predicted = network.eval()(images).argmax(1)
    assert (predicted == masks).float().mean() > 0.99


def test_images_in_channels_last_order_give_logits_in_that_order():
    network = UNet(3, 2, width=4).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    assert network(images).is_contiguous(memory_format=torch.channels_last)
