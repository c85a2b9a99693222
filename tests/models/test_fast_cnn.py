import torch

from leyden.models import FastCNN


def test_logits_of_small_images():
    network = FastCNN(3, 10, (13, 9), widths=(8, 12, 12, 12)).eval()
    assert network(torch.randn(2, 3, 13, 9)).shape == (2, 10)


def test_an_image_and_its_mirror_image_have_the_same_logits():
    network = FastCNN(1, 4, (8, 8), widths=(8,), mirror=True)
    images = torch.randn(3, 1, 8, 8)
    assert not torch.allclose(network(images), network(images.flip(3)), atol=1e-3)
    network.eval()
    assert torch.allclose(network(images), network(images.flip(3)), atol=1e-6)


def test_convolutions_start_as_identities():
    first, second = (
        layer for layer in FastCNN(1, 4, (8, 8), widths=(8,)).blocks[0] if isinstance(layer, torch.nn.Conv2d)
    )
    images = torch.randn(2, 8, 5, 5)
    assert torch.allclose(second(images), images)
    assert torch.allclose(first(images)[:, :8], images)


def test_the_first_layer_whitens_patches():
    network = FastCNN(1, 4, (8, 8), widths=(8,))
    smooth = torch.nn.functional.avg_pool2d(torch.randn(500, 1, 10, 10), 3, stride=1)
    network.initialize(smooth)
    network.whiten.bias.data.zero_()
    outputs = network.whiten(smooth)[:, :4].transpose(0, 1).flatten(1)
    assert torch.allclose(outputs @ outputs.T / outputs.shape[1], torch.eye(4), atol=0.05)
    assert not network.whiten.weight.requires_grad
