import torch
from lightning.pytorch import Trainer

from leyden.models.growing import GrowingImages


class Seen(torch.nn.Module):
    """Notes the size and the first value of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(images.shape[2:]))
        return images


class Module:
    def __init__(self) -> None:
        self.model = torch.nn.Module()
        self.model.network = Seen()


def test_the_first_epochs_see_crops(monkeypatch):
    module, growing = Module(), GrowingImages(side_px=5, epochs=2)
    network = module.model.network
    images = torch.arange(2 * 64.0).view(2, 1, 8, 8)
    growing.on_train_start(None, module)
    for epoch in range(3):
        trainer = type("At", (Trainer,), {"__init__": lambda self: None, "current_epoch": epoch})()
        growing.on_train_batch_start(trainer, module, None, 0)
        network.train()
        crop = network(images)
        network.eval()
        assert torch.equal(network(images), images), "what is scored is whole"
    assert network.sizes == [(5, 5), (8, 8)] * 2 + [(8, 8), (8, 8)]
    growing.on_train_batch_start(type("At", (Trainer,), {"__init__": lambda self: None, "current_epoch": 0})(), module, None, 0)
    network.train()
    crops = {tuple(network(images)[0, 0, 0, :1].tolist()) for _ in range(60)}
    assert len(crops) == 16, "every window comes up"
    assert crop.shape == images.shape
    growing.on_train_end(None, module)
    assert network(images).shape == images.shape
