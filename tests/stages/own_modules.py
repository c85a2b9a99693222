"""Lightning modules as users write them, with what the stages after the training can use."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tests.training import foreign_modules


class ScoredClassifier(foreign_modules.Classifier):
    """Returns a value for each example, and names what is explained: the log-probability of class 0."""

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        x, y = batch
        predicted = self(x).argmax(1)
        self.log("test_loss", (predicted != y).float().mean())
        return {"correct": (predicted == y).float(), "loss": torch.tensor(0.0)}

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return {"class": self(batch[0]).argmax(1), "scores": self(batch[0])}

    def explained_scalar(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self(batch[0])[:, 0]


class SampledGAN(foreign_modules.GAN):
    """As in Lightning's example, which sets `example_input_array`."""

    def __init__(self, latent_dim: int = 8) -> None:
        super().__init__(latent_dim)
        self.example_input_array = torch.randn(5, latent_dim)


class Containers(foreign_modules.Regressor):
    """Takes a dict, and returns a dict that holds a tuple; one output is named as an input."""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        y = self.net(batch["x"])
        return {"x": batch["x"] * 2, "parts": (y, y.sum(1) + batch["offset"])}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.net(batch["x"]).square().mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/rmse", self.net(batch["x"]).square().mean())


class Squeezed(foreign_modules.Regressor):
    """Loses a dimension for a batch of one example; its result has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze().detach() if not self.training else self.net(x)

    def explained_scalar(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/rmse", self(batch[0]).square().mean())


class Noisy(foreign_modules.Regressor):
    """Draws random numbers also in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + torch.randn(len(x), 1)


class Rows(foreign_modules.Table):
    """The table's rows as dicts."""

    def train_dataloader(self) -> DataLoader:
        return self.loader()

    def val_dataloader(self) -> DataLoader:
        return self.loader()

    def test_dataloader(self) -> DataLoader:
        return self.loader()

    def loader(self) -> DataLoader:
        x, y = self.rows.tensors
        return DataLoader([{"x": a, "offset": b[0]} for a, b in zip(x, y, strict=True)], batch_size=10)


class TestedTable(foreign_modules.Table):
    __test__ = False

    def test_dataloader(self) -> DataLoader:
        return self.val_dataloader()
