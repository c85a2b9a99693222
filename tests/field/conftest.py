"""The file of a user's own classes."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.field.own_module_runs import Write

HEADER = """
import collections, dataclasses, enum, os, sys, threading, typing
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tests.field.own_module_parts import Data, Net, rows
"""


@pytest.fixture
def write_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes mine.py: the bodies of a class Model and of a class Data, or other code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(model: str = "", data: str = "", code: str = "") -> None:
        classes = {"Model(Net)": model, "Data(Data)": data}
        bodies = [f"class {name}:\n{textwrap.indent(body or 'pass', '    ')}\n" for name, body in classes.items()]
        Path("mine.py").write_text("\n".join([HEADER, code, *bodies]))

    yield write
    sys.modules.pop("mine", None)
