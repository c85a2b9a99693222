"""Show what the model looks at, with evidence of how far each method is to be trusted."""

import copy
import time
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from leyden.data.packed import read_paths, read_split
from leyden.files import replaced_folder, write_json
from leyden.models.image_model import ImageModel
from leyden.models.load import calibrated, load_checkpoint, predict_logits
from leyden.models.sequence_model import SequenceModel
from leyden.stages.explain.channels import write_channels
from leyden.stages.explain.concepts import read_concepts, write_concepts
from leyden.stages.explain.draw import draw_image, draw_map
from leyden.stages.explain.evidence import auc_of, rank_similarity
from leyden.stages.explain.examples import choose, describe
from leyden.stages.explain.influence import write_influence
from leyden.stages.explain.methods import attribute, check_methods
from leyden.stages.explain.sequences import explain_sequences
from leyden.stages.explain.tables import write_table

BATCH_SIZE = 64
M = TypeVar("M", ImageModel, SequenceModel)


def explain(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/explain"),
    methods: list[str] = ["integrated_gradients", "saliency", "occlusion"],
    num_shown: int = 12,
    num_evidence: int = 64,
    num_deletion_steps: int = 16,
    num_influential: int = 3,
    num_channels: int = 5,
    concepts: Path | None = None,
    seed: int = 0,
) -> None:
    """Attribute test predictions to pixels by several methods; test each method against chance.

    Args:
        model: The checkpoint.
        data: Where `leyden prepare` wrote.
        out: Where maps/ (PNG, NPZ), examples.csv and metrics.json go.
        methods: Names of leyden.stages.explain.methods.METHODS.
        num_shown: Examples drawn: errors first, then the least sure, then one per class.
        num_evidence: Random test examples behind the evidence, at most.
        num_deletion_steps: Steps of the deletion and insertion curves.
        num_influential: Training examples named beside each error shown, that helped most and as many that harmed; 0 leaves them out.
        num_channels: Channels of the last layer with places that are named for each class, those first that its logit flows through; 0 leaves
            them out.
        concepts: Folder with a sub-folder of at least 10 images per concept, to be tested on each class; null leaves them out.
        seed: Of the random maps, the randomised model and the choice of examples.
    """
    check_methods(methods)
    module = load_checkpoint(model)
    shown_concepts = read_concepts(concepts, module)  # first: a folder that will not do is told at once
    if isinstance(module, SequenceModel):
        forgetful = randomise(module, seed)
        explain_sequences(module, forgetful, data, out, methods, num_shown, num_evidence, num_deletion_steps, num_influential, seed)
        return
    split = read_split(data, "test")
    probabilities = calibrated(module, predict_logits(module, split.images, 4 * BATCH_SIZE)).softmax(1)
    shown, reasons = choose(probabilities, torch.from_numpy(split.labels), num_shown)
    predicted = probabilities.argmax(1)
    drawn = np.random.default_rng(seed).permutation(len(split.labels))[:num_evidence]
    evidence = Evidence(module, randomise(module, seed), split.images[drawn], predicted[drawn], num_deletion_steps, seed)
    metrics = {name: measure(name, evidence) for name in methods}
    maps = {name: attribute(name, module, split.images[shown], predicted[shown]).numpy() for name in methods}
    rows = describe(module, probabilities[shown], [read_paths(data, "test")[row] for row in shown], split.labels[shown], reasons)
    with replaced_folder(out) as folder:
        write_json(folder / "metrics.json", metrics)
        arrays: dict[str, Any] = {"rows": np.array(shown), "images": split.images[shown], **maps}
        (folder / "maps").mkdir()
        np.savez_compressed(folder / "maps/maps.npz", **arrays)
        write_examples(folder, rows, split.images[shown], maps)
        write_influence(folder, module, data, shown, rows, num_influential)
        write_channels(folder, module, split.images[drawn], predicted[drawn], num_channels)
        write_concepts(folder, module, data, shown_concepts, seed)


class Evidence(NamedTuple):
    """What each method is measured on: test images uint8 (N, H, W, C) and the labels (N,) that the model gave them."""

    module: ImageModel
    randomised: ImageModel
    images: np.ndarray
    targets: Tensor
    num_steps: int
    seed: int


def measure(name: str, evidence: Evidence) -> dict[str, float]:
    """Measure a method against random maps and on a model that forgot what it learned; say the verdict."""
    module, randomised, images, targets, num_steps, seed = evidence
    started = time.perf_counter()
    maps = attribute(name, module, images, targets)
    seconds = (time.perf_counter() - started) / len(images)
    figures = auc_of(module.network, preprocessed(module, images), maps, targets, num_steps, seed)
    figures["randomisation_similarity"] = rank_similarity(maps, attribute(name, randomised, images, targets))
    verdict = "beats" if figures["deletion_auc"] < figures["random_deletion_auc"] else "does not beat"
    print(
        f"explain: {name}: {verdict} a random map (deletion {figures['deletion_auc']:.3f} against {figures['random_deletion_auc']:.3f}), "
        f"{figures['randomisation_similarity']:.2f} alike on a randomised model, {seconds * 1000:.0f} ms an image"
    )
    return figures | {"seconds_per_image": seconds, "examples": len(images)}


def write_examples(folder: Path, rows: list[dict[str, Any]], images: np.ndarray, maps: dict[str, np.ndarray]) -> None:
    """Draw each example and its maps under maps/, and list them in examples.csv."""
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        draw_image(folder / f"maps/{number:02d}.png", image)
        for name, values in maps.items():
            draw_map(folder / f"maps/{number:02d}-{name}.png", image, values[number])
        row["file"] = f"maps/{number:02d}.png"
    write_table(folder / "examples.csv", rows, list(rows[0]))


def preprocessed(module: ImageModel, images: np.ndarray) -> Tensor:
    """Give the network's own input for images uint8 (N, H, W, C): float (N, C', H, W)."""
    with torch.no_grad():
        return module.preprocess(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)).contiguous()


def randomise(module: M, seed: int) -> M:
    """Copy the model and forget what it learned: a faithful map must change with it.

    Source: Adebayo et al., "Sanity checks for saliency maps", 2018, section 3.
    """
    copied = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in copied.network.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
    return copied.eval()
