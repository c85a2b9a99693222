"""A small LightningModule and LightningDataModule, which variants in other files derive from."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def rows(count: int = 24) -> TensorDataset:
    """Return rows of 4 numbers and their sum."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, x.sum(1, keepdim=True))


class Data(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(rows(), batch_size=8)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(rows(), batch_size=10)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(rows(), batch_size=10)


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = F.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", F.mse_loss(self(batch[0]), batch[1]))

    def errors(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (self(batch[0]) - batch[1])[:, 0].abs()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        self.log("test_loss", self.errors(batch).mean())
        return {"error": self.errors(batch)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)
