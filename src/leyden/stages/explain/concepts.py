"""Whether user-defined concepts, given by example images, matter to a label's output: concepts.csv."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradientXActivation
from captum.concept import TCAV, Classifier, Concept
from torch import Tensor
from torch.nn import functional as F

from leyden.artifacts import CONCEPTS
from leyden.data.listing import find_files
from leyden.data.packed import Images, Split
from leyden.errors import UserError
from leyden.files.names import printable
from leyden.files.tables import write_table
from leyden.imaging.images import ImageReader, UnreadableImageError, decoder_limits, read_image
from leyden.models.build import Model
from leyden.models.image_model import ImageModel
from leyden.outputs.reader import OutputReader
from leyden.stages.explain.batch import PreparedData, find_reference, preprocess
from leyden.stages.explain.channels import last_spatial_module
from leyden.stages.explain.network import ExplainedOutputs
from leyden.tasks import load_task

MIN_IMAGES = 10
NUM_RANDOM = 20  # random concepts per test, and as many counterparts
MAX_IMAGES = 64  # test images of a label whose outputs are followed
SIGNIFICANCE_LEVEL = 0.05
COLUMNS = (
    *("concept", "label", "images", "layer", "score"),
    *("sensitivity", "random_low", "random_high", "p_value", "verdict"),
)

Concepts = dict[str, np.ndarray]  # images uint8 (N, H, W, C) by the concept's name


def read_concepts(folder: Path | None, module: Model) -> Concepts:
    """Read the images of each sub-folder as `leyden predict` does; return none for null, or for a model of sequences.

    Raises:
        UserError: if there is no concept, or too few readable images of one.
    """
    if folder is None:
        return {}
    if not isinstance(module, ImageModel):
        print("explain: concepts left out: they apply to images only")
        return {}
    names = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
    if not names:
        raise UserError(
            f"expected a folder with a sub-folder of images per concept; {folder} has none; "
            "set concepts in configs/explain.yaml"
        )
    return {name: np.stack(read_images(folder / name, module)) for name in names}


def read_images(folder: Path, module: ImageModel) -> list[np.ndarray]:
    images = []
    reader = ImageReader.from_input(module.input)
    with decoder_limits(reader.max_pixels):
        for file in find_files(folder):
            try:
                images.append(read_image(file, module.channels, module.image_size, reader))
            except UnreadableImageError as error:
                print(printable(f"explain: {file} left out: {error}"))
    if len(images) < MIN_IMAGES:
        raise UserError(
            f"expected at least {MIN_IMAGES} readable images of a concept; {folder} has {len(images)}; "
            "add some or remove the folder"
        )
    return images


def write_concepts(
    folder: Path, module: Model, reader: OutputReader, prepared: PreparedData, concepts: Concepts, seed: int
) -> None:
    """Test each concept on each label, in the layer of channels.csv, against random training images.

    Without concepts, concepts.csv has only its header.
    """
    rows: list[dict[str, Any]] = []
    if concepts and prepared.train is None:
        print("explain: concepts left out: they are compared with training images, which are in shards")
    elif concepts and isinstance(module, ImageModel):
        assert isinstance(prepared.train, Split) and isinstance(prepared.test, Split)
        if layer := last_spatial_module(
            module.network, preprocess(module, prepared.test.images[:1])[0], reader.is_dense
        ):
            rows = list_concepts(module, reader, layer, concepts, prepared.train.images, prepared.test, seed)
        else:
            print("explain: concepts left out: the network has no layer with spatial dimensions")
    write_table(folder / CONCEPTS, rows, COLUMNS)


def list_concepts(
    module: ImageModel,
    reader: OutputReader,
    layer: str,
    concepts: Concepts,
    train_images: Images,
    test: Split,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the rows of concepts.csv, by concept and label; p-values are corrected for the number of rows."""
    network, task = ExplainedOutputs(module.network, reader), load_task(module.spec)
    test_rows = {label: task.rows_with(test.targets, label)[:MAX_IMAGES] for label in range(len(module.labels))}
    test_rows = {label: found for label, found in test_rows.items() if len(found)}
    rows = []
    for number, (name, images) in enumerate(concepts.items()):
        generator = np.random.default_rng([seed, number])
        size = min(len(images), len(train_images))
        random_rows = (generator.choice(len(train_images), size, replace=False) for _ in range(2 * NUM_RANDOM))
        directions = concept_directions(module, layer, [images, *(train_images[np.sort(each)] for each in random_rows)])
        for label, found in test_rows.items():
            inputs = preprocess(module, test.images[found])[0]
            scores, sensitivities = measure_directions(network, layer, inputs, label, directions)
            score, sensitivity = (float(values[:NUM_RANDOM].mean()) for values in (scores, sensitivities))
            rows.append(
                {
                    "concept": name,
                    "label": module.labels[label],
                    "images": len(images),
                    "layer": layer,
                    "score": round(score, 4),
                    **compare_to_random(sensitivity, sensitivities[NUM_RANDOM:], len(test_rows) * len(concepts)),
                }
            )
    return rows


def concept_directions(module: ImageModel, layer: str, sets: list[np.ndarray]) -> Tensor:
    """Find the directions in a layer's outputs that separate sets of images from their counterparts.

    The sets are the concept, then NUM_RANDOM random concepts, then NUM_RANDOM counterparts.

    Returns:
        (2 * NUM_RANDOM, values of the layer), of length 1: of the concept against each counterpart, then of each random
        concept against one counterpart.
    """
    concept, *random_concepts = (
        Concept(number, str(number), preprocess(module, images)[0].split(MAX_IMAGES))
        for number, images in enumerate(sets)
    )
    counterparts = random_concepts[NUM_RANDOM:]
    pairs = [[concept, each] for each in counterparts]
    pairs += [list(pair) for pair in zip(random_concepts[:NUM_RANDOM], counterparts, strict=True)]
    # Captum's data loaders draw from torch's global generator.
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        # Not TCAV.interpret: for a second class it reads the files again, by a deprecated name of numpy's.
        vectors = TCAV(module.network, layer, classifier=LogisticDirection(), save_path=folder).compute_cavs(pairs)
    weights = [vectors[f"{first.id}-{second.id}"][layer].stats["weights"][0] for first, second in pairs]
    return torch.stack(weights).float()


def measure_directions(
    network: ExplainedOutputs, layer: str, inputs: Tensor, label: int, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Measure how the output of a label changes when a layer's outputs move along each direction.

    Returns:
        The scores, fractions of the images whose output rises; and the sensitivities, mean changes of the output per
        step of length 1; both (number of directions,).

    Source: Kim et al., "Interpretability beyond feature attribution", 2018, sections 3.2 to 3.4.
    """
    gradient = LayerGradientXActivation(network, network.network.get_submodule(layer), multiply_by_inputs=False)
    reference = find_reference(network.network, network.reader, inputs)
    changes = gradient.attribute(inputs, target=label, additional_forward_args=reference).detach().flatten(1)
    changes = changes @ directions.T
    return (changes > 0).float().mean(dim=0), changes.mean(dim=0)


def compare_to_random(value: float, random: Tensor, num_tests: int) -> dict[str, Any]:
    """Test whether a concept differs from random concepts, as a single draw however many counterparts it has.

    Counting each counterpart as a draw, as the paper's t-test on scores does, gives false positives: for 40 sets of 30
    digits drawn at random and 10 classes (the sample's model), 41% are significant at p < 0.05; with this test, 1%.

    The score cannot be tested like this: where a network is linear after the layer, all images of a class agree, and
    the score of any random concept is 0 or 1. The sensitivity can.

    `value` is the sensitivity to the concept, `random` are those to random concepts; p-values are multiplied by
    `num_tests` (Bonferroni).

    Source: Crawford and Howell, "Comparing an individual's test score against norms derived from small samples", 1998.
    """
    from scipy.stats import t

    mean, deviation = float(random.mean()), max(float(random.std()) * (1 + 1 / len(random)) ** 0.5, 1e-12)
    degrees_of_freedom = len(random) - 1
    p_value = min(1.0, num_tests * 2 * float(t.sf(abs(value - mean) / deviation, degrees_of_freedom)))
    margin = float(t.isf(SIGNIFICANCE_LEVEL / num_tests / 2, degrees_of_freedom)) * deviation
    metrics = {"sensitivity": value, "random_low": mean - margin, "random_high": mean + margin, "p_value": p_value}
    return {name: float(f"{metric:.4g}") for name, metric in metrics.items()} | {
        "verdict": "like random images" if p_value >= SIGNIFICANCE_LEVEL else "for" if value > mean else "against"
    }


class LogisticDirection(Classifier):  # type: ignore[misc]  # captum has no types
    """The direction of length 1 that separates two sets of activations; the sign of captum's own varies by seed."""

    def __init__(self) -> None:
        from sklearn.linear_model import LogisticRegression

        # Strong regularisation keeps the direction smooth: there are more values than images.
        self.model = LogisticRegression(C=0.01, max_iter=1000)

    def train_and_eval(self, dataloader: Any, **kwargs: Any) -> None:
        activations, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
        self.model.fit((activations / activations.std().clamp(min=1e-12)).numpy(), labels.numpy())

    def weights(self) -> Tensor:
        """Return a direction for each class, in their order."""
        direction = F.normalize(torch.from_numpy(self.model.coef_[0]), dim=0)
        return torch.stack([-direction, direction])

    def classes(self) -> list[int]:
        return self.model.classes_.tolist()
