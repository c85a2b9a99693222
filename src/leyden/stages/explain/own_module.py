"""The explanation of a LightningModule of the user's: a number for each example, attributed to the batch's inputs.

The number is what the module's method `explained_scalar(batch)` returns, (B,); without it, the result of `forward` if
that is one number for each example.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients, Saliency
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils import _pytree

from leyden.artifacts import CHANNELS, CONCEPTS, INFLUENCE, METRICS, SUMMARY
from leyden.errors import UserError, one_line, own_code_errors
from leyden.files import replaced_folder, write_json
from leyden.files.tables import write_table
from leyden.models.module_batches import read_batches
from leyden.models.module_checkpoint import load_data_module
from leyden.runtimes.module_inputs import bind_batch, find_lengths
from leyden.stages.explain import channels, concepts, influence, randomise, run_methods
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.drawing import draw_image, draw_map, draw_steps
from leyden.stages.explain.examples import write_examples
from leyden.stages.explain.faithfulness import deletion_insertion_auc, rank_similarity
from leyden.stages.explain.network import NotApplicableError
from leyden.stages.explain.verdict import Verdict, format_table

MAX_BATCHES = 100
BATCH_SIZE = 64
NUM_STEPS = 32  # of integrated gradients
SCALAR = "explained_scalar"
ADVICE = f"add a method {SCALAR}(self, batch) that returns a number for each example, (B,)"


class Examples(NamedTuple):
    """Test examples: the leaves of batches, joined; which of them are inputs that numbers are attributed to."""

    leaves: list[Any]
    structure: _pytree.TreeSpec
    explained: list[int]
    is_batched: list[bool]

    def take(self, rows: np.ndarray) -> list[Any]:
        index = torch.from_numpy(rows)
        return [
            each[index] if is_batched else each for each, is_batched in zip(self.leaves, self.is_batched, strict=True)
        ]


class ModuleExplainer:
    """Explains a module's number by the values of its floating-point inputs; a deleted value becomes the mean one.

    Maps have a value for each value of the inputs, one after another: (N, P).
    """

    def __init__(self, module: LightningModule, examples: Examples, num_steps: int, seed: int) -> None:
        self.module, self.examples, self.num_steps, self.seed = module, examples, num_steps, seed
        self.baselines = tuple(examples.leaves[index].mean(dim=0, keepdim=True) for index in examples.explained)

    def scalar(self, inputs: tuple[Tensor, ...], leaves: list[Any]) -> Tensor:
        """Return the explained number of a batch, float (B,), with these values of its inputs."""
        replaced = dict(zip(self.examples.explained, inputs, strict=True))
        batch = _pytree.tree_unflatten(
            [replaced.get(index, leaf) for index, leaf in enumerate(leaves)], self.examples.structure
        )
        return explained_scalar(self.module, batch)

    def map_shape(self, batch: Batch) -> tuple[int, ...]:
        return len(batch.targets), sum(each[0].numel() for each in batch.inputs)

    def attribute(self, method: str, batch: Batch) -> Tensor:
        if method not in METHODS:
            raise NotApplicableError(f"applies to models of images; modules of your own have {', '.join(METHODS)}")
        maps = []
        for rows in torch.arange(len(batch.targets)).split(BATCH_SIZE):
            inputs = tuple(each[rows].clone().requires_grad_() for each in batch.inputs)
            leaves = self.rows_of(batch, rows)
            try:
                attributed = METHODS[method](self, inputs, leaves)
            except RuntimeError as error:  # torch's, of what cannot be differentiated
                raise NotApplicableError(f"the number has no gradient: {one_line(error, 100)}") from error
            maps.append(torch.cat([each.detach().flatten(1).float() for each in attributed], dim=1))
        return torch.cat(maps)

    def rows_of(self, batch: Batch, rows: Tensor) -> list[Any]:
        return [
            each[rows] if is_batched else each
            for each, is_batched in zip(batch.examples, self.examples.is_batched, strict=True)
        ]

    def deletion_insertion_auc(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Follow which fraction of the number's change from its value at the mean inputs is kept."""
        order = maps.abs().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        every = torch.ones(maps.shape, dtype=torch.bool)
        whole, none = (self.hidden_scalar(batch, each) for each in (~every, every))
        change = (whole - none).where(whole != none, torch.inf)
        return deletion_insertion_auc(
            lambda hidden: ((self.hidden_scalar(batch, hidden) - none) / change).clamp(0, 1)[:, None],
            order,
            torch.tensor([maps.shape[1]]),
            torch.zeros(len(maps), dtype=torch.int64),
            self.num_steps,
        )

    @torch.no_grad()
    def hidden_scalar(self, batch: Batch, hidden: Tensor) -> Tensor:
        sizes = [each[0].numel() for each in batch.inputs]
        parts = hidden.split(sizes, dim=1)
        inputs = [
            each.where(~part.view(each.shape), baseline)
            for each, part, baseline in zip(batch.inputs, parts, self.baselines, strict=True)
        ]
        scalars = [
            self.scalar(tuple(each[rows] for each in inputs), self.rows_of(batch, rows))
            for rows in torch.arange(len(hidden)).split(BATCH_SIZE)
        ]
        return torch.cat(scalars).float()

    def similarity(self, batch: Batch, maps: Tensor, other_maps: Tensor) -> float:
        return rank_similarity(maps, other_maps)

    def extra_metrics(self, method: str, batch: Batch, maps: Tensor) -> dict[str, float]:
        return {}

    def describe_layer(self, method: str) -> str:
        return ""

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        return {f"input_{index}": each.numpy() for index, each in enumerate(batch.inputs)}

    def draw(self, path: Path, batch: Batch, row: int, values: np.ndarray | None = None, method: str = "") -> None:
        """Draw an image of 1 or 3 channels with its map, or any other inputs as a curve of their values."""
        first = batch.inputs[0][row].float()
        if len(batch.inputs) == 1 and first.ndim == 3 and first.shape[0] in (1, 3):
            scaled = (first - first.min()) / (first.max() - first.min()).clamp(min=1e-12) * 255
            image = scaled.byte().permute(1, 2, 0).numpy()
            if values is None:
                draw_image(path, image)
            else:
                evidence = None if method == "saliency" else ("more", "less")
                draw_map(path, image, values.reshape(first.shape).sum(0), evidence)
        else:
            curve = np.concatenate([each[row].flatten().numpy() for each in batch.inputs])
            draw_steps(path, curve[:, None], values, labels=("input", "value"))


def explain_own_module(
    module: LightningModule,
    model: Path,
    out: Path,
    methods: list[str],
    num_shown: int,
    num_evidence: int,
    num_deletion_steps: int,
    seed: int,
    trust: bool,
) -> None:
    """Attribute the number that a module names to the inputs of test examples; write maps, examples and verdicts.

    The tables of what only a task has (influence, channels, concepts) are empty.

    Raises:
        UserError: if the module names no number, or its data has no floating-point inputs.
    """
    if hasattr(module, SCALAR) or is_overridden("forward", module):
        examples, scalars = read_examples(module, load_data_module(model, trust=trust))
    else:
        raise UserError(f"expected a number to explain; {type(module).__name__} names none; {ADVICE}")
    module.requires_grad_(False)
    order = np.argsort(scalars, kind="stable")
    count = min(num_shown, len(order))
    largest = order[::-1][: (count + 1) // 2]
    rows = np.concatenate([largest, order[: count - len(largest)]])
    chosen = ["large"] * len(largest) + ["small"] * (count - len(largest))
    evidence_rows = np.random.default_rng(seed).permutation(len(scalars))[:num_evidence]
    evidence, shown = (take_batch(examples, each) for each in (evidence_rows, rows))
    explainer, randomised = (
        ModuleExplainer(each, examples, num_deletion_steps, seed) for each in (module, randomise(module, seed))
    )
    metrics, maps, verdicts = run_methods(methods, explainer, randomised, evidence, shown)
    descriptions = [
        {
            "path": f"test example {row}",
            "label": "",
            "prediction": f"{scalars[row]:.6g}",
            "confidence": "",
            "chosen": reason,
            "file": f"maps/{number:02d}.png",
        }
        for number, (row, reason) in enumerate(zip(rows.tolist(), chosen, strict=True))
    ]
    with replaced_folder(out, "explain") as folder:
        write_json(folder / METRICS, metrics)
        write_table(folder / SUMMARY, [row._asdict() for row in verdicts], Verdict._fields)
        (folder / "maps").mkdir()
        arrays: dict[str, Any] = {"rows": rows, **explainer.arrays(shown), **maps}
        np.savez_compressed(folder / "maps/maps.npz", **arrays)
        write_examples(folder, descriptions, explainer, shown, maps)
        for name, columns in (
            (INFLUENCE, influence.COLUMNS),
            (CHANNELS, channels.COLUMNS),
            (CONCEPTS, concepts.COLUMNS),
        ):
            write_table(folder / name, [], columns)
    print(format_table(verdicts, metrics))


def read_examples(module: LightningModule, data: Any) -> tuple[Examples, np.ndarray]:
    """Read test examples, and their explained numbers (N,).

    Raises:
        UserError: if the module names no number, or the examples have no floating-point inputs of equal shapes.
    """
    name = type(module).__name__
    expected = f"test batches of equal shapes that {name} maps to a number for each example"
    with own_code_errors(expected, advice=f"correct it, or {ADVICE}"):
        batches = list(islice(read_batches(module, data), MAX_BATCHES))
        with torch.no_grad():
            scalars = torch.cat([explained_scalar(module, batch) for batch in batches]).float().numpy()
        args = bind_batch(module.forward, batches[0])
        inputs = {id(each) for each in _pytree.tree_leaves(args) if isinstance(each, Tensor)}
        leaves, structure = _pytree.tree_flatten(batches[0])
        size = len(explained_scalar(module, batches[0]))
        is_batched = [isinstance(each, Tensor) and each.shape[:1] == (size,) for each in leaves]
        explained = [
            index
            for index, each in enumerate(leaves)
            if is_batched[index] and each.is_floating_point() and id(each) in inputs
        ]
        parts = zip(*(_pytree.tree_leaves(batch) for batch in batches), strict=True)
        joined = [torch.cat(part) if batched else part[0] for part, batched in zip(parts, is_batched, strict=True)]
    if not np.isfinite(scalars).all():
        raise UserError(
            f"expected finite numbers to explain; those of {name} are NaN or infinite for "
            f"{np.count_nonzero(~np.isfinite(scalars))} of {len(scalars)} test examples; correct the module"
        )
    if not any(is_batched):
        raise UserError(
            f"expected a number for each example to explain; {name} returns {size} for a batch of "
            f"{max(find_lengths(batches[0]), default=0)}; {ADVICE}"
        )
    if not explained:
        raise UserError(
            f"expected floating-point inputs (B, ...) to attribute a number to; the test batches of {name} have none; "
            "leave `leyden explain` out"
        )
    return Examples(joined, structure, explained, is_batched), scalars


def take_batch(examples: Examples, rows: np.ndarray) -> Batch:
    """Return some examples; there is one explained number, so that targets and references are zeros."""
    leaves = examples.take(rows)
    zeros = torch.zeros(len(rows), dtype=torch.int64)
    return Batch(leaves, tuple(leaves[index] for index in examples.explained), zeros, zeros)


def integrated_gradients(explainer: ModuleExplainer, inputs: tuple[Tensor, ...], leaves: list[Any]) -> Any:
    """Source: Sundararajan et al., 2017. The baseline is the examples' mean."""
    batched = [index for index, each in enumerate(explainer.examples.is_batched) if each]

    def scalar(*values: Tensor) -> Tensor:
        replaced = dict(zip(batched, values[len(inputs) :], strict=True))  # repeated for every step
        return explainer.scalar(values[: len(inputs)], [replaced.get(at, each) for at, each in enumerate(leaves)])

    return IntegratedGradients(scalar).attribute(
        inputs,
        explainer.baselines,
        additional_forward_args=tuple(leaves[index] for index in batched),
        n_steps=NUM_STEPS,
        internal_batch_size=BATCH_SIZE,
    )


def saliency(explainer: ModuleExplainer, inputs: tuple[Tensor, ...], leaves: list[Any]) -> Any:
    """Source: Simonyan et al., 2014. Absolute gradients."""
    return Saliency(lambda *values: explainer.scalar(values, leaves)).attribute(inputs)


METHODS: dict[str, Callable[..., Any]] = {"integrated_gradients": integrated_gradients, "saliency": saliency}


def explained_scalar(module: LightningModule, batch: Any) -> Tensor:
    """Return the number that is explained, (B,).

    Raises:
        UserError: if the module does not name it.
    """
    name = type(module).__name__
    if hasattr(module, SCALAR):
        scalar, source = getattr(module, SCALAR)(batch), SCALAR
    else:
        args, kwargs = bind_batch(module.forward, batch)
        scalar, source = module(*args, **kwargs), "forward"
        if isinstance(scalar, Tensor) and scalar.ndim == 2 and scalar.shape[1] == 1:
            scalar = scalar[:, 0]
    if not isinstance(scalar, Tensor) or scalar.ndim != 1 or scalar.is_complex():
        kind = " of complex numbers" if isinstance(scalar, Tensor) and scalar.is_complex() else ""
        got = tuple(scalar.shape) if isinstance(scalar, Tensor) else type(scalar).__name__
        raise UserError(
            f"expected a number for each example to explain, (B,); {name}.{source} returns {got}{kind}; {ADVICE}"
        )
    return scalar
