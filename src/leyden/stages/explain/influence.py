"""Which training examples influenced the model's mistakes most: influence.csv."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.influence import TracInCPFast
from torch import Tensor, nn
from torch.utils.data import DataLoader

from leyden.artifacts import INFLUENCE
from leyden.data.packed import Split
from leyden.data.sequences import SequenceSplit
from leyden.files.tables import write_table
from leyden.models.build import Model
from leyden.models.layer_outputs import observe_outputs
from leyden.outputs.reader import OutputReader
from leyden.stages.explain.batch import PreparedData, preprocess
from leyden.stages.explain.examples import LARGE_ERROR, describe_cells
from leyden.tasks import load_task
from leyden.tasks.targets import LossOptions

BATCH_SIZE = 256
EXAMPLE_COLUMNS = ("file", "path", "label", "prediction")  # copied from examples.csv
REASONS = ("wrong", LARGE_ERROR, "unsure")  # for which examples are listed, the first that there is
COLUMNS = (*EXAMPLE_COLUMNS, "effect", "rank", "influence", "training_row", "training_path", "training_label")


def write_influence(
    folder: Path,
    module: Model,
    reader: OutputReader,
    prepared: PreparedData,
    rows: list[int],
    descriptions: list[dict[str, Any]],
    num_influential: int,
) -> None:
    """List the training examples that helped and harmed each error that is shown most.

    Errors are wrong classes, or without any uncertain predictions; where there are no classes, the largest errors.

    `rows` are the rows of the test split that are shown, and `descriptions` their rows in examples.csv, of which each
    example's first counts. If there is nothing to list, influence.csv has only its header.
    """
    chosen = {each["chosen"] for each in descriptions}
    reason = next((reason for reason in REASONS if reason in chosen), None)
    explained: dict[int, dict[str, Any]] = {}
    for row, each in zip(rows, descriptions, strict=True):
        if each["chosen"] == reason:
            explained.setdefault(row, each)
    table = (
        list_influences(module, reader, prepared, explained, num_influential) if num_influential and explained else []
    )
    write_table(folder / INFLUENCE, table, COLUMNS)


def list_influences(
    module: Model, reader: OutputReader, prepared: PreparedData, explained: dict[int, dict[str, Any]], count: int
) -> list[dict[str, Any]]:
    """Return the rows of influence.csv: for each test example the most helpful first, then the most harmful."""
    if (train := prepared.train) is None:
        print("explain: influence left out: the training examples are in shards")
        return []
    if reader.is_dense:
        print("explain: influence left out: it needs a network that ends in a linear layer, not a value per pixel")
        return []
    test_examples, test_targets = prepared.test
    rows = np.array(list(explained))
    inputs = preprocess(module, test_examples[rows])
    layer = last_linear_layer(module.network, inputs)
    if layer is None:
        print("explain: influence left out: it needs a network that ends in a linear layer")
        return []
    scores = compute_influences(module, reader, layer, inputs, torch.from_numpy(test_targets[rows]), train)
    table = []
    for influences, description in zip(scores, explained.values(), strict=True):
        for effect, sign in (("helpful", 1), ("harmful", -1)):
            order = influences.argsort(descending=sign > 0, stable=True)[:count].tolist()
            for rank, row in enumerate([row for row in order if influences[row] * sign > 0], start=1):
                table.append(
                    {
                        **{name: description[name] for name in EXAMPLE_COLUMNS},
                        "effect": effect,
                        "rank": rank,
                        "influence": float(f"{influences[row]:.6g}"),
                        "training_row": row,
                        "training_path": prepared.train_paths[row],
                        "training_label": describe_cells(reader, reader.target_rows(train.targets[[row]])[0]),
                    }
                )
    return table


def compute_influences(
    module: Model,
    reader: OutputReader,
    layer: nn.Linear,
    inputs: tuple[Tensor, ...],
    targets: Tensor,
    train: Split | SequenceSplit,
) -> Tensor:
    """Compute how far a step on each training example would lower the loss of test examples: products of gradients.

    TracIn sums this over the checkpoints of a training, weighted by their learning rates. Here there is one checkpoint,
    the final model, at rate 1: an example that the model learned early and has long classified correctly counts little,
    and only the order within a test example is meaningful. The gradients are those of the last layer's weights, without
    its bias, of the plain cross-entropy of classes, or else of the task's loss.

    `inputs` are the network's inputs of N test examples. A helpful example supports their `targets` (N, ...), not what
    is predicted.

    Returns:
        (N, training examples); above 0 is helpful.

    Source: Pruthi et al., "Estimating training data influence by tracing gradient descent", 2020, equation 1.
    """

    def load_batch(start: Any) -> tuple[Tensor, ...]:
        rows = slice(start, start + BATCH_SIZE)
        return *preprocess(module, train[0][rows]), torch.from_numpy(train.targets[rows])

    starts: Any = range(0, len(train.targets), BATCH_SIZE)  # any sequence serves as a data set
    # With its own generator, the loader does not draw from torch's global one.
    batches: DataLoader[Any] = DataLoader(starts, batch_size=None, collate_fn=load_batch, generator=torch.Generator())
    tracer = TracInCPFast(
        module.network,
        layer,
        batches,
        checkpoints=["final model"],
        checkpoints_load_func=lambda network, checkpoint: 1.0,
        loss_fn=nn.CrossEntropyLoss(reduction="sum") if reader.has_one_label else TaskLoss(module),
    )
    return tracer.influence((*inputs, targets)).detach()


class TaskLoss(nn.Module):
    """The sum of a task's loss over a batch, given the outputs of the network."""

    reduction = "sum"  # read by captum

    def __init__(self, module: Model) -> None:
        super().__init__()
        self.output, self.loss = module.output, load_task(module.spec).make_loss(LossOptions())

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Map outputs (B, K) and targets (B, ...) to float32 ()."""
        return self.loss(self.output(outputs), targets) * len(targets)


def last_linear_layer(network: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Linear | None:
    """Return the linear layer whose outputs are the logits, if the network ends in one."""
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    outputs: dict[str, Tensor] = {}
    with torch.no_grad(), observe_outputs(layers, lambda name, output: outputs.update({name: output})):
        logits = network(*inputs)
    return next((layers[name] for name, output in outputs.items() if torch.equal(output, logits)), None)
