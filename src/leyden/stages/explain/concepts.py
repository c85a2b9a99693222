"""Whether concepts that a user shows by example images matter to a class: concepts.csv."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradientXActivation
from captum.concept import TCAV, Classifier, Concept
from torch import Tensor

from leyden.data.images import UnreadableImageError, find_files, read_image
from leyden.data.packed import Split, read_report, read_split
from leyden.errors import UserError
from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.stages.explain.channels import last_spatial_layer
from leyden.stages.explain.inputs import inputs_of
from leyden.stages.explain.tables import Row, write_table

MIN_IMAGES = 10
NUM_RANDOM = 20  # random concepts behind each test, and as many counterparts
MAX_IMAGES = 64  # test images of a class whose logits are followed
LEVEL = 0.05
COLUMNS = (
    "concept",
    "label",
    "images",
    "layer",
    "score",
    "sensitivity",
    "random_low",
    "random_high",
    "p_value",
    "verdict",
)

Concepts = dict[str, np.ndarray]  # images uint8 (N, H, W, C) by the concept's name


def read_concepts(folder: Path | None, module: Model) -> Concepts:
    """Read the images of each sub-folder as `leyden predict` does; none for null, or a model of sequences.

    Raises:
        UserError: if there is no concept, or too few readable images of one.
    """
    if folder is None:
        return {}
    if not isinstance(module, ImageModel):
        print("explain: without concepts, which are of images")
        return {}
    names = (
        sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if folder.is_dir()
        else []
    )
    if not names:
        raise UserError(
            f"expected a folder with a sub-folder of images per concept; {folder} has none; set concepts in configs/explain.yaml"
        )
    return {name: np.stack(read_images(folder / name, module)) for name in names}


def read_images(folder: Path, module: ImageModel) -> list[np.ndarray]:
    images = []
    for file in find_files(folder):
        try:
            images.append(read_image(file, module.channels, module.image_size))
        except UnreadableImageError as error:
            print(f"explain: left out {file}: {error}")
    if len(images) < MIN_IMAGES:
        raise UserError(
            f"expected at least {MIN_IMAGES} readable images of a concept; {folder} has {len(images)}; add some or remove the folder"
        )
    return images


def write_concepts(folder: Path, module: Model, data: Path, concepts: Concepts, seed: int) -> None:
    """Test each concept on each class by the last layer that still has places, against random training images.

    Args:
        folder: Where concepts.csv goes; with a header alone where there is no concept.
        module: The model.
        data: Where `leyden prepare` wrote.
        concepts: What `read_concepts` read.
        seed: Of the random images.
    """
    rows: list[Row] = []
    if concepts and "shards" in read_report(data):
        print("explain: without concepts, which are set against training images; these are in shards")
    elif concepts and isinstance(module, ImageModel):
        train, test = read_split(data, "train"), read_split(data, "test")
        layer = last_spatial_layer(module.network, inputs_of(module, test.images[:1])[0])
        if layer is None:
            print("explain: without concepts, which ask for a convolutional network")
        else:
            rows = list_concepts(module, layer, concepts, train.images, test, seed)
    write_table(folder / "concepts.csv", rows, COLUMNS)


def list_concepts(module: ImageModel, layer: str, concepts: Concepts, train: Any, test: Split, seed: int) -> list[Row]:
    """Give the rows of concepts.csv, by concept and class, with p-values that account for how many there are."""
    labels = np.unique(test.labels).tolist()
    rows = []
    for number, (name, images) in enumerate(concepts.items()):
        generator = np.random.default_rng([seed, number])
        for label, scores, sensitivities in measure_concept(module, layer, images, train, test, labels, generator):
            found = compare(
                float(sensitivities[:NUM_RANDOM].mean()), sensitivities[NUM_RANDOM:], len(labels) * len(concepts)
            )
            known: Row = {"concept": name, "label": module.labels[label], "images": len(images), "layer": layer}
            rows.append(known | {"score": round(float(scores[:NUM_RANDOM].mean()), 4)} | found)
    return rows


def measure_concept(
    module: ImageModel,
    layer: str,
    images: np.ndarray,
    train: Any,
    test: Split,
    labels: list[int],
    generator: np.random.Generator,
) -> list[tuple[int, Tensor, Tensor]]:
    """Follow each class's logit in the direction of a concept, and of random concepts of as many training images.

    Returns:
        For each label the scores (2 * NUM_RANDOM,), shares of its test images whose logit the direction raises, and the
        sensitivities, mean rises for a step of length 1: of the concept beside each counterpart, then of each random concept beside one.

    Source: Kim et al., "Interpretability beyond feature attribution", 2018, sections 3.2 to 3.4.
    """
    size = min(len(images), len(train))
    sets = [train[np.sort(generator.choice(len(train), size, replace=False))] for _ in range(2 * NUM_RANDOM)]
    directions = find_directions(module, layer, [images, *sets])
    gradient = LayerGradientXActivation(module.network, module.network.get_submodule(layer), multiply_by_inputs=False)
    found = []
    for label in labels:
        inputs = inputs_of(module, test.images[np.flatnonzero(test.labels == label)[:MAX_IMAGES]])[0]
        rises = gradient.attribute(inputs, target=label).detach().flatten(1) @ directions.T
        found.append((label, (rises > 0).float().mean(dim=0), rises.mean(dim=0)))
    return found


def find_directions(module: ImageModel, layer: str, sets: list[np.ndarray]) -> Tensor:
    """Give directions (2 * NUM_RANDOM, values of the layer): of the first set beside each of the last, and of the others beside one each."""
    own, *others = (
        Concept(number, str(number), inputs_of(module, images)[0].split(MAX_IMAGES))
        for number, images in enumerate(sets)
    )
    counterparts = others[NUM_RANDOM:]
    pairs = [[own, each] for each in counterparts] + [
        list(pair) for pair in zip(others[:NUM_RANDOM], counterparts, strict=True)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.random.fork_rng(devices=[]),
    ):  # captum's data loaders draw from torch's generator
        # Not TCAV.interpret: for a second class it reads the files again, by a name of numpy's that is going away.
        cavs = TCAV(module.network, layer, classifier=LogisticDirection(), save_path=folder).compute_cavs(pairs)
    return torch.stack([cavs[f"{first.id}-{second.id}"][layer].stats["weights"][0] for first, second in pairs]).float()


def compare(value: float, random: Tensor, num_tests: int) -> Row:
    """Test whether a concept is one more random concept: it counts as a single draw, however many counterparts it was set against.

    To take each counterpart for a draw of its own, as the paper's t-test on scores does, finds chance: of sets of 30 digits drawn at random,
    by 10 classes, it said of 41% that they matter at p < 0.05, and this test of 1% (40 sets, the sample's model).

    A share of images cannot be tested so: where a network is linear behind the layer, all images of a class agree, and the score
    of any random concept is 0 or 1. The sensitivity can.

    Args:
        value: Sensitivity to the concept.
        random: Sensitivities to random concepts.
        num_tests: By which p-values are multiplied (Bonferroni).

    Source: Crawford and Howell, "Comparing an individual's test score against norms derived from small samples", 1998.
    """
    from scipy.stats import t

    mean, spread = float(random.mean()), max(float(random.std()) * (1 + 1 / len(random)) ** 0.5, 1e-12)
    p_value = min(1.0, num_tests * 2 * float(t.sf(abs(value - mean) / spread, len(random) - 1)))
    reach = float(t.isf(LEVEL / num_tests / 2, len(random) - 1)) * spread
    matters = "for" if value > mean else "against"
    figures = {"sensitivity": value, "random_low": mean - reach, "random_high": mean + reach, "p_value": p_value}
    return {name: float(f"{figure:.4g}") for name, figure in figures.items()} | {
        "verdict": matters if p_value < LEVEL else "like random images"
    }


class LogisticDirection(Classifier):  # type: ignore[misc]  # captum has no types
    """The direction, of length 1, that tells one set of activations from another: captum's own changes its sign with the seed."""

    def __init__(self) -> None:
        from sklearn.linear_model import LogisticRegression

        self.model = LogisticRegression(
            C=0.01, max_iter=1000
        )  # more values than images: the direction is to be kept smooth

    def train_and_eval(self, dataloader: Any, **kwargs: Any) -> None:
        activations, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
        self.model.fit((activations / activations.std().clamp(min=1e-12)).numpy(), labels.numpy())

    def weights(self) -> Tensor:
        """Give a direction for each class, in their order."""
        direction = torch.from_numpy(self.model.coef_[0])
        direction = direction / direction.norm().clamp(min=1e-12)
        return torch.stack([-direction, direction])

    def classes(self) -> list[int]:
        return self.model.classes_.tolist()
