"""Show what the model looks at, with evidence of how far each method is to be trusted."""

import copy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from leyden.data.packed import read_paths, read_split
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.runtimes.load import calibrated, predict_logits
from leyden.stages.explain.channels import write_channels
from leyden.stages.explain.concepts import read_concepts, write_concepts
from leyden.stages.explain.evidence import Evidence, measure
from leyden.stages.explain.examples import choose, describe, write_examples
from leyden.stages.explain.influence import write_influence
from leyden.stages.explain.inputs import inputs_of
from leyden.stages.explain.methods import attribute, check_methods, describe_layer
from leyden.stages.explain.network import ExplainedNetwork, Refused
from leyden.stages.explain.sequences import explain_sequences
from leyden.stages.explain.tables import write_table
from leyden.stages.explain.verdict import REFUSED, Figures, Verdict, judge, ranked, table

BATCH_SIZE = 256
DEFAULT_METHODS = [
    "integrated_gradients",
    "deep_lift",
    "gradient_shap",
    "smooth_grad",
    "saliency",
    "grad_cam",
    "guided_grad_cam",
    "occlusion",
]
M = TypeVar("M", ImageModel, SequenceModel)


def explain(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/explain"),
    methods: list[str] = DEFAULT_METHODS,
    num_shown: int = 12,
    num_evidence: int = 64,
    num_deletion_steps: int = 16,
    num_influential: int = 3,
    num_channels: int = 5,
    concepts: Path | None = None,
    seed: int = 0,
    trust: bool = False,
) -> None:
    """Attribute test predictions to pixels by several methods; test each method against chance.

    Args:
        model: The checkpoint.
        data: Where `leyden prepare` wrote.
        out: Where maps/ (PNG, NPZ), examples.csv, metrics.json and summary.csv, the verdicts, go.
        methods: By gradients: integrated_gradients (on the way from the mean colour), saliency (their size), input_x_gradient,
            smooth_grad (saliency under noise), gradient_shap (at random points), deep_lift (differences from the mean colour in each
            layer; ReLU networks). By layers: grad_cam (the last one with places, coarse), guided_grad_cam (refined; ReLU networks),
            attention_rollout (where attention leads; transformers). By blanking parts: occlusion (a moving window), feature_ablation
            (cells of a grid), kernel_shap and lime (random sets of cells).
        num_shown: Examples drawn: errors first, then the least sure, then one per class.
        num_evidence: Random test examples behind the evidence, at most.
        num_deletion_steps: Steps of the deletion and insertion curves.
        num_influential: Training examples named beside each error shown, that helped most and as many that harmed; 0 leaves them out.
        num_channels: Channels of the last layer with places that are named for each class, those first that its logit flows through; 0 leaves
            them out.
        concepts: Folder with a sub-folder of at least 10 images per concept, to be tested on each class; null leaves them out.
        seed: Of methods that draw, the random maps, the randomised model and the choice of examples.
        trust: Load the checkpoint even if it names a network that is not of leyden, torchvision or timm; what this project has
            published does not need it.
    """
    check_output(out, "explain", [model, data, *([concepts] if concepts else [])])
    check_methods(methods)
    module = load_checkpoint(model, trust=trust)
    shown_concepts = read_concepts(concepts, module)  # first: a folder that will not do is told at once
    if isinstance(module, SequenceModel):
        forgetful = randomise(module, seed)
        explain_sequences(
            module, forgetful, data, out, methods, num_shown, num_evidence, num_deletion_steps, num_influential, seed
        )
        return
    split = read_split(data, "test")
    probabilities = calibrated(module, predict_logits(module, split.images, BATCH_SIZE)).softmax(1)
    predicted = probabilities.argmax(1)
    shown, reasons = choose(probabilities, torch.from_numpy(split.labels), num_shown)
    drawn = np.random.default_rng(seed).permutation(len(split.labels))[:num_evidence]
    inputs = preprocessed(module, split.images[drawn])
    network, randomised = (ExplainedNetwork(each.network, inputs) for each in (module, randomise(module, seed)))
    evidence = Evidence(network, randomised, inputs, predicted[drawn], num_deletion_steps, seed)
    metrics, maps, verdicts = run_methods(
        methods, evidence, preprocessed(module, split.images[shown]), predicted[shown]
    )
    rows = describe(
        module, probabilities[shown], [read_paths(data, "test")[row] for row in shown], split.labels[shown], reasons
    )
    with replaced_folder(out, "explain") as folder:
        write_json(folder / "metrics.json", metrics)
        write_table(folder / "summary.csv", [row._asdict() for row in verdicts], Verdict._fields)
        arrays: dict[str, Any] = {"rows": np.array(shown), "images": split.images[shown], **maps}
        (folder / "maps").mkdir()
        np.savez_compressed(folder / "maps/maps.npz", **arrays)
        write_examples(folder, rows, split.images[shown], maps)
        write_influence(folder, module, data, shown, rows, num_influential)
        write_channels(folder, module, split.images[drawn], predicted[drawn], num_channels)
        write_concepts(folder, module, data, shown_concepts, seed)
    print(table(verdicts, metrics))


def run_methods(
    names: list[str], evidence: Evidence, inputs: Tensor, targets: Tensor
) -> tuple[dict[str, Figures], dict[str, np.ndarray], list[Verdict]]:
    """Explain images (N, C, H, W) by each method, and measure it; one that does not suit the network is refused, and the others go on.

    Returns:
        Figures and maps (N, H, W) of the methods that were not refused, and the verdicts on all of them, the best first.
    """
    metrics: dict[str, Figures] = {}
    maps: dict[str, np.ndarray] = {}
    verdicts = []
    for name in names:
        try:
            found = attribute(name, evidence.network, inputs, targets, evidence.seed)
            metrics[name] = measure(name, evidence)
        except Refused as refusal:
            verdicts.append(Verdict(name, REFUSED, str(refusal)))
        else:
            maps[name] = found.numpy()
            row = judge(name, metrics[name])
            verdicts.append(row._replace(reason=row.reason + describe_layer(name, evidence.network)))
    return metrics, maps, ranked(verdicts, metrics)


def preprocessed(module: ImageModel, images: np.ndarray) -> Tensor:
    """Give the network's own input for images uint8 (N, H, W, C): float (N, C', H, W)."""
    return inputs_of(module, images)[0]


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
