"""Which training examples taught the model its mistakes: influence.csv."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.influence import TracInCPFast
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from leyden.data.packed import read_examples, read_paths, read_report
from leyden.models.build import Model
from leyden.stages.explain.inputs import inputs_of
from leyden.stages.explain.tables import Row, write_table

BATCH_SIZE = 256
COLUMNS = (
    "file",
    "path",
    "label",
    "prediction",
    "effect",
    "rank",
    "influence",
    "training_row",
    "training_path",
    "training_label",
)


def write_influence(
    folder: Path, module: Model, data: Path, shown: list[int], described: list[Row], num_influential: int
) -> None:
    """List the training examples that helped and harmed most, of each error shown; without errors, of the least sure predictions.

    Args:
        folder: Where influence.csv goes; with a header alone where nothing can be told.
        module: The model.
        data: Where `leyden prepare` wrote.
        shown: Rows of the test split.
        described: Their rows in examples.csv.
        num_influential: How many of either kind, at most; 0 leaves them out.
    """
    reasons = [row["chosen"] for row in described]
    numbers = [
        number for number, reason in enumerate(reasons) if reason == ("wrong" if "wrong" in reasons else "unsure")
    ]
    rows: list[Row] = []
    if num_influential and numbers:
        if "shards" in read_report(data):
            print("explain: without influence of training examples, which are in shards")
        else:
            rows = list_influences(
                module,
                data,
                [shown[number] for number in numbers],
                [described[number] for number in numbers],
                num_influential,
            )
    write_table(folder / "influence.csv", rows, COLUMNS)


def list_influences(module: Model, data: Path, shown: list[int], described: list[Row], count: int) -> list[Row]:
    """Give the rows of influence.csv: most helpful first, then most harmful, of each test example."""
    test, train, paths = read_examples(data, "test"), read_examples(data, "train"), read_paths(data, "train")
    inputs = inputs_of(module, test[0][np.array(shown)])
    layer = last_layer(module.network, inputs)
    if layer is None:
        print("explain: without influence of training examples, which asks for a network that ends in a linear layer")
        return []
    scores = influences(module, layer, inputs, torch.from_numpy(test.labels[shown]), train)
    rows = []
    for own, example in zip(scores, described, strict=True):
        for effect, order in (
            ("helpful", own.argsort(descending=True, stable=True)),
            ("harmful", own.argsort(stable=True)),
        ):
            wanted = [row for row in order[:count].tolist() if own[row] * (1 if effect == "helpful" else -1) > 0]
            for rank, row in enumerate(wanted, start=1):
                found = {
                    "training_row": row,
                    "training_path": paths[row],
                    "training_label": module.labels[train.labels[row]],
                }
                known = {name: example[name] for name in ("file", "path", "label", "prediction")}
                rows.append(known | {"effect": effect, "rank": rank, "influence": float(f"{own[row]:.6g}")} | found)
    return rows


def influences(module: Model, layer: nn.Linear, inputs: tuple[Tensor, ...], labels: Tensor, train: Any) -> Tensor:
    """Tell how far a step on each training example would lower the loss of test examples: products of gradients.

    TracIn sums this over the checkpoints of a training, weighed by their learning rates. Here is one, the model itself, at rate 1:
    what an example taught early and the model has long known counts little, and only the order within a test example means something.
    The gradients are those of the last layer's weights, without its bias, of the plain cross-entropy.

    Args:
        module: The model.
        layer: Its network's last.
        inputs: What the network takes of N test examples.
        labels: (N,), the true ones: what is helpful speaks for these, not for what was predicted.
        train: The training split.

    Returns:
        (N, training examples); above 0 is helpful.

    Source: Pruthi et al., "Estimating training data influence by tracing gradient descent", 2020, equation 1.
    """
    batches = DataLoader(
        Batches(module, train), batch_size=None, generator=torch.Generator()
    )  # else it draws from torch's own
    tracer = TracInCPFast(
        module.network,
        layer,
        batches,
        checkpoints=["the model as it is"],
        checkpoints_load_func=lambda network, checkpoint: 1.0,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
    )
    return tracer.influence((*inputs, labels)).detach()


class Batches(Dataset[tuple[Tensor, ...]]):
    """A split by batches, as the network takes them, and their labels."""

    def __init__(self, module: Model, split: Any) -> None:
        self.module, (self.examples, self.labels) = module, split

    def __len__(self) -> int:
        return -(-len(self.labels) // BATCH_SIZE)

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        rows = slice(number * BATCH_SIZE, (number + 1) * BATCH_SIZE)
        return *inputs_of(self.module, self.examples[rows]), torch.from_numpy(self.labels[rows])


def last_layer(network: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Linear | None:
    """Find the linear layer whose outputs are the logits, if the network ends in one."""
    outputs: dict[nn.Linear, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda layer, _, output: outputs.update({layer: output}))
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]
    with torch.no_grad():
        logits = network(*inputs)
    for handle in handles:
        handle.remove()
    return next(
        (layer for layer, output in outputs.items() if output.shape == logits.shape and torch.equal(output, logits)),
        None,
    )
