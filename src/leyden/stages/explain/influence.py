"""Which training examples influenced the model's mistakes most: influence.csv."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.influence import TracInCPFast
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from leyden.artifacts import INFLUENCE
from leyden.data.packed import Split
from leyden.data.sequences import SequenceSplit
from leyden.files.tables import write_table
from leyden.models.build import Model
from leyden.models.layer_outputs import observe_outputs
from leyden.stages.explain.batch import PreparedData, preprocess

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
    folder: Path,
    module: Model,
    prepared: PreparedData,
    rows: list[int],
    descriptions: list[dict[str, Any]],
    num_influential: int,
) -> None:
    """List the training examples that helped and harmed each error shown most, or else each uncertain prediction.

    Args:
        folder: Where influence.csv goes; with only its header if there is nothing to list.
        module: The model.
        prepared: The prepared splits.
        rows: Rows of the test split that are shown.
        descriptions: Their rows in examples.csv.
        num_influential: How many of either kind, at most; 0 leaves them out.
    """
    has_errors = any(each["chosen"] == "wrong" for each in descriptions)
    numbers = [
        number for number, each in enumerate(descriptions) if each["chosen"] == ("wrong" if has_errors else "unsure")
    ]
    table: list[dict[str, Any]] = []
    if num_influential and numbers:
        if prepared.train is None:
            print("explain: influence left out: the training examples are in shards")
        else:
            explained = [rows[number] for number in numbers]
            table = list_influences(
                module, prepared, explained, [descriptions[number] for number in numbers], num_influential
            )
    write_table(folder / INFLUENCE, table, COLUMNS)


def list_influences(
    module: Model, prepared: PreparedData, rows: list[int], descriptions: list[dict[str, Any]], count: int
) -> list[dict[str, Any]]:
    """Return the rows of influence.csv: for each test example the most helpful first, then the most harmful."""
    test_examples, test_labels = prepared.test
    assert prepared.train is not None
    train_labels = prepared.train.labels
    inputs = preprocess(module, test_examples[np.array(rows)])
    layer = last_linear_layer(module.network, inputs)
    if layer is None:
        print("explain: influence left out: it needs a network that ends in a linear layer")
        return []
    scores = compute_influences(module, layer, inputs, torch.from_numpy(test_labels[rows]), prepared.train)
    table = []
    for influences, description in zip(scores, descriptions, strict=True):
        example = {name: description[name] for name in ("file", "path", "label", "prediction")}
        for effect, sign in (("helpful", 1), ("harmful", -1)):
            order = influences.argsort(descending=sign > 0, stable=True)[:count].tolist()
            listed = [row for row in order if influences[row] * sign > 0]
            for rank, row in enumerate(listed, start=1):
                table.append(
                    example
                    | {
                        "effect": effect,
                        "rank": rank,
                        "influence": float(f"{influences[row]:.6g}"),
                        "training_row": row,
                        "training_path": prepared.train_paths[row],
                        "training_label": module.labels[train_labels[row]],
                    }
                )
    return table


def compute_influences(
    module: Model, layer: nn.Linear, inputs: tuple[Tensor, ...], labels: Tensor, train: Split | SequenceSplit
) -> Tensor:
    """Compute how far a step on each training example would lower the loss of test examples: products of gradients.

    TracIn sums this over the checkpoints of a training, weighted by their learning rates. Here there is one checkpoint,
    the final model, at rate 1: an example that the model learned early and has long classified correctly counts little,
    and only the order within a test example is meaningful. The gradients are those of the last layer's weights, without
    its bias, of the plain cross-entropy.

    Args:
        module: The model.
        layer: The last layer of its network.
        inputs: The network's inputs of N test examples.
        labels: Their true labels (N,): a helpful example supports these, not the predicted ones.
        train: The training split.

    Returns:
        (N, training examples); above 0 is helpful.

    Source: Pruthi et al., "Estimating training data influence by tracing gradient descent", 2020, equation 1.
    """
    # With a generator of its own, the loader does not draw from torch's global one.
    batches = DataLoader(TrainingBatches(module, train), batch_size=None, generator=torch.Generator())
    tracer = TracInCPFast(
        module.network,
        layer,
        batches,
        checkpoints=["final model"],
        checkpoints_load_func=lambda network, checkpoint: 1.0,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
    )
    return tracer.influence((*inputs, labels)).detach()


class TrainingBatches(Dataset[tuple[Tensor, ...]]):
    """A split in batches of the network's inputs and labels."""

    def __init__(self, module: Model, split: Split | SequenceSplit) -> None:
        self.module = module
        self.examples: Any = split[0]
        self.labels = split.labels

    def __len__(self) -> int:
        return -(-len(self.labels) // BATCH_SIZE)

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        rows = slice(number * BATCH_SIZE, (number + 1) * BATCH_SIZE)
        return *preprocess(self.module, self.examples[rows]), torch.from_numpy(self.labels[rows])


def last_linear_layer(network: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Linear | None:
    """Return the linear layer whose outputs are the logits, if the network ends in one."""
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    outputs: dict[str, Tensor] = {}
    with torch.no_grad(), observe_outputs(layers, lambda name, output: outputs.update({name: output})):
        logits = network(*inputs)
    for name, output in outputs.items():
        if output.shape == logits.shape and torch.equal(output, logits):
            return layers[name]
    return None
