"""What a model of sequences looks at: attributions of time steps, and the evidence for them."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients, Occlusion, Saliency
from torch import Tensor

from leyden.data.packed import read_paths
from leyden.data.sequences import Sequences, read_sequence_split
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.models.sequence_model import SequenceModel
from leyden.runtimes.load import calibrated, predict_logits
from leyden.stages.explain.channels import COLUMNS as CHANNELS
from leyden.stages.explain.concepts import COLUMNS as CONCEPTS
from leyden.stages.explain.evidence import rank_similarity
from leyden.stages.explain.examples import choose, describe
from leyden.stages.explain.influence import write_influence
from leyden.stages.explain.inputs import inputs_of
from leyden.stages.explain.tables import Row, write_table
from leyden.stages.explain.verdict import REFUSED, Verdict, judge, ranked, table
from leyden.statistics.bootstrap import percentile_interval, resample_sums

BATCH_SIZE = 64
NUM_STEPS = 32  # of integrated gradients
NUM_RESAMPLES, CONFIDENCE_LEVEL = 2000, 0.95


class Steps(NamedTuple):
    """Sequences as the network takes them: values (N, T, F), 0 behind each end; lengths (N,); the labels (N,) that the model gave."""

    values: Tensor
    lengths: Tensor
    targets: Tensor

    @property
    def inside(self) -> Tensor:
        """Where no padding is: bool (N, T)."""
        return torch.arange(self.values.shape[1]) < self.lengths[:, None]


def explain_sequences(
    module: SequenceModel,
    randomised: SequenceModel,
    data: Path,
    out: Path,
    methods: list[str],
    num_shown: int,
    num_evidence: int,
    num_deletion_steps: int,
    num_influential: int,
    seed: int,
) -> None:
    """Attribute test predictions to time steps; test each method against chance. The arguments are those of `explain`."""
    asked, methods = methods, applicable(methods)
    split = read_sequence_split(data, "test")
    probabilities = calibrated(module, predict_logits(module, split.sequences, 4 * BATCH_SIZE)).softmax(1)
    rows, reasons = choose(probabilities, torch.from_numpy(split.labels), num_shown)
    drawn = np.random.default_rng(seed).permutation(len(split.labels))[:num_evidence]
    evidence = take(module, split.sequences, drawn, probabilities.argmax(1))
    metrics = {name: measure(name, module, randomised, evidence, num_deletion_steps, seed) for name in methods}
    refused = [
        Verdict(name, REFUSED, f"is of images; for sequences there are {', '.join(METHODS)}")
        for name in asked
        if name not in METHODS
    ]
    verdicts = ranked([judge(name, metrics[name]) for name in methods] + refused, metrics)
    shown = take(module, split.sequences, np.array(rows), probabilities.argmax(1))
    maps = {name: attribute(name, module, shown).numpy() for name in methods}
    paths = read_paths(data, "test")
    described = describe(module, probabilities[rows], [paths[row] for row in rows], split.labels[rows], reasons)
    arrays: dict[str, Any] = {
        "rows": np.array(rows),
        "values": split.sequences[np.array(rows)].values,
        "lengths": shown.lengths.numpy(),
    } | maps
    with replaced_folder(out, "explain") as folder:
        write_json(folder / "metrics.json", metrics)
        write_table(folder / "summary.csv", [row._asdict() for row in verdicts], Verdict._fields)
        (folder / "maps").mkdir()
        np.savez_compressed(folder / "maps/maps.npz", **arrays)
        write_examples(folder, described, shown, maps)
        write_influence(folder, module, data, rows, described, num_influential)
        write_table(folder / "channels.csv", [], CHANNELS)  # both are of images; the pipeline expects the files
        write_table(folder / "concepts.csv", [], CONCEPTS)
    print(table(verdicts, metrics))


def applicable(methods: list[str]) -> list[str]:
    """Keep the methods that sequences have.

    Raises:
        UserError: if none is left.
    """
    kept = [name for name in methods if name in METHODS]
    if methods and not kept:
        raise UserError(
            f"expected a method for sequences, {', '.join(METHODS)}; got {', '.join(methods)}; set methods in configs/explain.yaml"
        )
    return kept


def take(module: SequenceModel, sequences: Sequences, rows: np.ndarray, predicted: Tensor) -> Steps:
    """Take some rows of a split, preprocessed, with the labels (N,) that the model gave to the whole split."""
    values, lengths = inputs_of(module, sequences[rows])
    return Steps(values, lengths, predicted[rows])


def attribute(name: str, module: SequenceModel, steps: Steps) -> Tensor:
    """Attribute a model's logits for the targets to the time steps.

    Returns:
        float32 (N, T), summed over features; exactly 0 behind each end.
    """
    found = [
        METHODS[name](module.network, Steps(*(part[start : start + BATCH_SIZE] for part in steps)))
        for start in range(0, len(steps.lengths), BATCH_SIZE)
    ]
    return torch.cat(found).detach().sum(dim=2).float().masked_fill(~steps.inside, 0)


def integrated_gradients(network: torch.nn.Module, steps: Steps) -> Tensor:
    """Source: Sundararajan et al., 2017. The baseline is 0: the training set's mean of each feature."""
    method = IntegratedGradients(network)
    return method.attribute(
        steps.values,
        target=steps.targets,
        additional_forward_args=(steps.lengths,),
        n_steps=NUM_STEPS,
        internal_batch_size=BATCH_SIZE,
    )


def saliency(network: torch.nn.Module, steps: Steps) -> Tensor:
    """Source: Simonyan et al., 2014. Sizes of gradients; they say where, not for or against."""
    return Saliency(network).attribute(
        steps.values.clone().requires_grad_(), target=steps.targets, additional_forward_args=(steps.lengths,)
    )


def occlusion(network: torch.nn.Module, steps: Steps) -> Tensor:
    """Source: Zeiler and Fergus, 2014. A window of an eighth of the sequence's own length, moved by half of itself, is set to the mean."""
    maps = torch.zeros_like(steps.values)
    for number, length in enumerate(steps.lengths.tolist()):
        window = max(1, round(length / 8))
        maps[number, :length] = Occlusion(network).attribute(
            steps.values[number, None, :length],
            target=steps.targets[number, None],
            additional_forward_args=(steps.lengths[number, None],),
            sliding_window_shapes=(window, steps.values.shape[2]),
            strides=(max(1, window // 2), steps.values.shape[2]),
            perturbations_per_eval=16,
        )[0]
    return maps


METHODS = {"integrated_gradients": integrated_gradients, "saliency": saliency, "occlusion": occlusion}


def measure(
    name: str, module: SequenceModel, randomised: SequenceModel, steps: Steps, num_steps: int, seed: int
) -> dict[str, float]:
    """Measure a method against random maps and on a model that forgot what it learned.

    Returns:
        Figures by the keys that images have. `gain` is by how much deletion and insertion are better than a random map's, their mean,
        with a bootstrap interval over the sequences.
    """
    started = time.perf_counter()
    maps = attribute(name, module, steps)
    seconds = (time.perf_counter() - started) / len(maps)
    chance = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed))
    areas = areas_of(module.network, steps, maps, num_steps)
    random_areas = areas_of(module.network, steps, chance, num_steps)
    gains = ((random_areas[0] - areas[0]) + (areas[1] - random_areas[1])) / 2
    low, high = percentile_interval(
        resample_sums(gains[:, None].numpy(), NUM_RESAMPLES, seed)[:, 0] / len(gains), CONFIDENCE_LEVEL
    )
    others = attribute(name, randomised, steps)
    alike = [
        rank_similarity(maps[[row], :length], others[[row], :length])
        for row, length in enumerate(steps.lengths.tolist())
    ]
    return {
        **{f"{curve}_auc": float(area.mean()) for curve, area in zip(("deletion", "insertion"), areas, strict=True)},
        **{
            f"random_{curve}_auc": float(area.mean())
            for curve, area in zip(("deletion", "insertion"), random_areas, strict=True)
        },
        **{"gain": float(gains.mean()), "gain_low": low, "gain_high": high},
        "randomisation_similarity": float(np.mean(alike)),
        "seconds_per_image": seconds,  # the key is the report's, for examples of either kind
        "examples": len(maps),
    }


@torch.inference_mode()
def areas_of(network: torch.nn.Module, steps: Steps, maps: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """Delete and insert time steps in the order of maps (N, T), the highest first, and follow each target's probability.

    A deleted step becomes 0, the training set's mean; shares are of each sequence's own length.

    Returns:
        Areas under the two curves, (N,) in [0, 1].

    Source: Petsiuk et al., "RISE", 2018, section 4.
    """
    order = (
        maps.masked_fill(~steps.inside, -torch.inf).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    )  # padding comes last
    shares = torch.linspace(0, 1, num_steps + 1)
    curves: tuple[list[Tensor], list[Tensor]] = [], []
    for share in shares:
        gone = order < (share * steps.lengths).round()[:, None]
        for curve, hidden in zip(curves, (gone, ~gone), strict=True):
            logits = network(steps.values.masked_fill(hidden[..., None], 0), steps.lengths)
            curve.append(logits.softmax(1).gather(1, steps.targets[:, None])[:, 0])
    deletion, insertion = (torch.trapezoid(torch.stack(curve, 1), shares) for curve in curves)
    return deletion, insertion


def write_examples(folder: Path, rows: list[Row], shown: Steps, maps: dict[str, np.ndarray]) -> None:
    """Draw each sequence and its maps under maps/, and list them in examples.csv."""
    for number, (row, length) in enumerate(zip(rows, shown.lengths.tolist(), strict=True)):
        curves = shown.values[number, :length].numpy()
        draw_steps(folder / f"maps/{number:02d}.png", curves, None)
        for name, values in maps.items():
            draw_steps(folder / f"maps/{number:02d}-{name}.png", curves, values[number, :length])
        row["file"] = f"maps/{number:02d}.png"
    write_table(folder / "examples.csv", rows, list(rows[0]))


def draw_steps(path: Path, curves: np.ndarray, values: np.ndarray | None) -> None:
    """Draw curves (T, F) over time; behind them, values (T,): red speaks for the class, blue against."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2, 2), layout="constrained")
    axes = figure.subplots()
    axes.plot(curves, linewidth=1, marker="." if len(curves) < 2 else "")
    axes.margins(x=0)
    if values is not None:
        strength = values / (np.abs(values).max() or 1)
        axes.imshow(
            strength[None],
            cmap="bwr",
            vmin=-1,
            vmax=1,
            alpha=0.6,
            extent=(-0.5, len(values) - 0.5, *axes.get_ylim()),
            aspect="auto",
            zorder=0,
        )
    axes.set(xlabel="time step", ylabel="standardised")
    figure.savefig(path, dpi=100)
