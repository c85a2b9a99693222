"""LightningModules and LightningDataModules as users write them, without a thought of this project."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy
from torchvision.models import resnet18


class NoisyImages(Dataset):
    """Grey images (1, 8, 8) of 4 kinds, augmented with each library's random numbers."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(count) % 4
        self.images = torch.randn(count, 1, 8, 8, generator=generator) * 0.3
        for index, label in enumerate(self.labels.tolist()):
            self.images[index, 0, 2 * label : 2 * label + 2] += 1

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = 0.1 * torch.randn(1, 8, 8) + float(np.random.normal(0, 0.1)) + random.gauss(0, 0.1)
        return self.images[index] + noise, int(self.labels[index])


class NoisyImageData(LightningDataModule):
    def __init__(self, count: int = 80, batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        self.train, self.val = random_split(NoisyImages(self.hparams.count), [0.8, 0.2])

    def train_dataloader(self) -> DataLoader:
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.val)

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.val)

    def loader(self, dataset: Dataset, shuffle: bool = False) -> DataLoader:
        count = self.hparams.num_workers
        return DataLoader(dataset, self.hparams.batch_size, shuffle, num_workers=count, persistent_workers=count > 0)


class Classifier(LightningModule):
    """As in Lightning's MNIST example: names without a slash, metrics as submodules, hyper-parameters saved."""

    def __init__(self, hidden_size: int = 16, lr: float = 1e-2, activation: nn.Module = nn.ReLU()) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden_size), activation, nn.Dropout(0.1), nn.Linear(hidden_size, 4)
        )
        self.val_accuracy, self.test_accuracy = MulticlassAccuracy(4), MulticlassAccuracy(4)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.model(x), dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.nll_loss(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.val_accuracy.update(logits, y)
        self.log("val_loss", F.nll_loss(logits, y), prog_bar=True)
        self.log("val_acc", self.val_accuracy, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.test_accuracy.update(self(x), y)
        self.log("test_acc", self.test_accuracy)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Encoder(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, size))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class AutoEncoder(LightningModule):
    """As in Lightning's introduction: parts are arguments, there is no validation, and `forward` encodes."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, optimizer: OptimizerCallable = torch.optim.Adam) -> None:
        super().__init__()
        self.encoder, self.decoder, self.optimizer = encoder, decoder, optimizer

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x = batch[0].flatten(1)
        loss = F.mse_loss(self.decoder(self.encoder(x)), x)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


class GAN(LightningModule):
    """As in Lightning's example: two optimizers, stepped by hand."""

    def __init__(self, latent_dim: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent_dim, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 64))
        self.discriminator = nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(32, 1))
        self.validation_z = torch.randn(4, latent_dim)

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> None:
        images = batch[0].flatten(1)
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(len(images), self.hparams.latent_dim).type_as(images)
        self.toggle_optimizer(optimizer_g)
        scores = self.discriminator(self(z))
        g_loss = F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))
        self.log("g_loss", g_loss, prog_bar=True)
        self.manual_backward(g_loss)
        optimizer_g.step()
        optimizer_g.zero_grad()
        self.untoggle_optimizer(optimizer_g)
        self.toggle_optimizer(optimizer_d)
        real, fake = self.discriminator(images), self.discriminator(self(z).detach())
        d_loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real)) / 2
        d_loss = d_loss + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)) / 2
        self.log("d_loss", d_loss, prog_bar=True)
        self.manual_backward(d_loss)
        optimizer_d.step()
        optimizer_d.zero_grad()
        self.untoggle_optimizer(optimizer_d)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999)),
            torch.optim.Adam(self.discriminator.parameters(), lr=1e-4, betas=(0.5, 0.999)),
        ]


class Table(LightningDataModule):
    """Rows of 6 numbers and a target, shuffled by a generator of its own."""

    def __init__(self, num_rows: int = 96) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(num_rows, 6, generator=generator)
        self.rows = TensorDataset(x, (x[:, :3].sum(1) + x[:, 3] ** 2)[:, None])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.rows, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(2))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.rows, batch_size=32)


class PositionLoader(DataLoader):
    """A loader with a state: it skips the batches that were seen before."""

    num_seen = num_skipped = 0

    def __iter__(self) -> Iterator:
        num_skipped, self.num_skipped = self.num_skipped, 0
        for number, batch in enumerate(super().__iter__(), start=1):
            self.num_seen = number
            if number > num_skipped:
                yield batch

    def state_dict(self) -> dict:
        return {"num_seen": self.num_seen}

    def load_state_dict(self, state: dict) -> None:
        self.num_skipped = state["num_seen"]


class PositionTable(Table):
    def train_dataloader(self) -> DataLoader:
        return PositionLoader(self.rows, batch_size=8, shuffle=True)


class Regressor(LightningModule):
    """A regression of a table, whose learning rate falls when the score does not."""

    def __init__(self, num_features: int = 6, learning_rate: float = 0.5) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.net = nn.Sequential(nn.Linear(num_features, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return {"loss": F.huber_loss(self(batch[0]), batch[1])}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/rmse", F.mse_loss(self(batch[0]), batch[1]).sqrt())

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=0, threshold=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/rmse"}}


class FineTuned(LightningModule):
    """As in Lightning's transfer-learning example: a frozen backbone in evaluation mode, and a new head."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        backbone = resnet18(weights=None)
        num_features = backbone.fc.in_features
        self.feature_extractor = nn.Sequential(*list(backbone.children())[:-1])
        self.feature_extractor.requires_grad_(False)
        self.classifier = nn.Linear(num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        self.feature_extractor.eval()
        with torch.no_grad():
            features = self.feature_extractor(x.expand(-1, 3, -1, -1)).flatten(1)
        return self.classifier(features)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train/loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> tuple[list, list]:
        optimizer = torch.optim.SGD(self.classifier.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]
