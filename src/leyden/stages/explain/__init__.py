"""Show what the model bases its predictions on, with evidence of how far each method can be trusted."""

import copy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from leyden.artifacts import METRICS, REFUSED, SUMMARY
from leyden.cost import announce_cost
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output
from leyden.files.tables import write_table
from leyden.models.build import Model
from leyden.models.checkpoint import read_checkpoint, rebuild_checkpoint
from leyden.models.sequence_model import SequenceModel
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader
from leyden.ranges import SEEDS, check_range
from leyden.stages.explain.batch import Batch, open_prepared_data, take_batch
from leyden.stages.explain.channels import write_channels
from leyden.stages.explain.concepts import read_concepts, write_concepts
from leyden.stages.explain.examples import choose_examples, choose_labels, describe_examples, write_examples
from leyden.stages.explain.explainer import Explainer
from leyden.stages.explain.faithfulness import measure_method, random_map_auc
from leyden.stages.explain.images import ImageExplainer
from leyden.stages.explain.influence import write_influence
from leyden.stages.explain.methods import check_methods
from leyden.stages.explain.network import ExplainedNetwork, NotApplicableError
from leyden.stages.explain.predictions import predict_split
from leyden.stages.explain.sequences import SequenceExplainer, check_sequence_methods
from leyden.stages.explain.verdict import Metrics, Verdict, decide_verdict, format_table, rank_verdicts

AnyModule = TypeVar("AnyModule", bound=nn.Module)

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


def explain(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/explain"),
    methods: list[str] = DEFAULT_METHODS,
    num_shown: int = 12,
    num_labels: int = 4,
    num_evidence: int = 64,
    num_deletion_steps: int = 16,
    num_influential: int = 3,
    num_channels: int = 5,
    concepts: Path | None = None,
    seed: int = 0,
    trust: bool = False,
) -> None:
    """Attribute test predictions to pixels or time steps by several methods; test each method against random maps.

    Args:
        model: The checkpoint.
        data: Output folder of `leyden prepare`.
        out: Output folder for maps/ (PNG, NPZ), examples.csv, metrics.json, and the verdicts in summary.csv.
        methods: Based on gradients: integrated_gradients (along the path from the mean colour), saliency (absolute
            values), input_x_gradient, smooth_grad (saliency averaged over noise), gradient_shap (at random points),
            deep_lift (differences from the mean colour in each layer; ReLU networks). Based on layers: grad_cam (the
            last one with spatial dimensions, coarse), guided_grad_cam (finer; ReLU networks), attention_rollout
            (transformers). Based on replacing parts by the mean colour: occlusion (a sliding window), feature_ablation
            (cells of a grid), kernel_shap and lime (random sets of cells). Sequences have integrated_gradients,
            saliency and occlusion.
        num_shown: Examples to draw: errors first, then the least confident, then one per class; without classes, the
            largest errors, then the smallest.
        num_labels: Labels explained of each example, at most: the targets of a regression in their order, or of several
            labels at once those predicted, the most probable first. Other tasks have one. Time grows with it.
        num_evidence: Random test examples to measure the methods on, at most; each on one of its explained labels, in
            turn.
        num_deletion_steps: Steps of the deletion and insertion curves.
        num_influential: Training examples listed for each error shown, of those that helped most and of those that
            harmed most; 0 lists none.
        num_channels: Channels listed for each label, those with the largest conductance in the last layer with spatial
            dimensions (at the end of the encoder for outputs with a value per pixel); 0 lists none.
        concepts: Folder with a sub-folder of at least 10 images per concept, to be tested on each label; null for none.
        seed: Seed of methods that draw random numbers, random maps, the randomised model and the choice of evidence.
        trust: Load the checkpoint even if it names a network from outside leyden, torchvision and timm; not needed for
            what this project has published.
    """
    check_output(out, "explain", [model, data, *([concepts] if concepts else [])])
    check_methods(methods)
    check_range("explain", "[1, inf)", num_shown=num_shown, num_labels=num_labels, num_evidence=num_evidence)
    check_range("explain", "[1, 10000]", num_deletion_steps=num_deletion_steps)
    check_range("explain", "[0, inf)", num_influential=num_influential, num_channels=num_channels)
    check_range("explain", SEEDS, seed=seed)
    checkpoint = read_checkpoint(model)
    if "module" in checkpoint["leyden"]:  # a LightningModule of the user's: Lightning takes seconds to import
        from leyden.models.module_checkpoint import rebuild_module
        from leyden.stages.explain.own_module import explain_own_module

        own = rebuild_module(checkpoint, model, trust=trust)
        return explain_own_module(own, model, out, methods, num_shown, num_evidence, num_deletion_steps, seed, trust)
    module = rebuild_checkpoint(checkpoint, model, trust=trust)
    concept_images = read_concepts(concepts, module)  # first, to report an unusable folder at once
    if isinstance(module, SequenceModel):
        check_sequence_methods(methods)
    prepared = open_prepared_data(data, module, model)
    reader, test = load_reader(module.spec), prepared.test
    predictions = predict_split(module, reader, test)
    rows, reasons = choose_examples(predictions, test.targets, num_shown)
    if not rows:
        raise UserError(f"expected test examples whose targets are known; {data} has none; prepare other test examples")
    evidence_rows = np.random.default_rng(seed).permutation(len(test.targets))[:num_evidence].tolist()
    explained, evidence_labels = choose_labels(predictions.labels, rows, evidence_rows, num_labels, reader.noun)
    evidence = take_batch(module, reader, test, evidence_rows, evidence_labels)
    shown = take_batch(module, reader, test, *map(list, zip(*explained, strict=True)))
    explainer, randomised = (
        make_explainer(each, reader, evidence, num_deletion_steps, seed) for each in (module, randomise(module, seed))
    )
    metrics, maps, verdicts = run_methods(methods, explainer, randomised, evidence, shown)
    shown_rows, chosen = [row for row, _ in explained], dict(zip(rows, reasons, strict=True))
    described = describe_examples(module, reader, predictions, shown, test.targets[shown_rows], shown_rows)
    descriptions = [
        {"path": prepared.test_paths[row], **cells, "chosen": chosen[row], "file": f"maps/{number:02d}.png"}
        for number, (row, cells) in enumerate(zip(shown_rows, described, strict=True))
    ]
    with replaced_folder(out, "explain") as folder:
        write_json(folder / METRICS, metrics)
        write_table(folder / SUMMARY, [row._asdict() for row in verdicts], Verdict._fields)
        (folder / "maps").mkdir()
        arrays: dict[str, Any] = {
            "rows": np.array(shown_rows),
            "labels": shown.targets.numpy(),
            **explainer.arrays(shown),
            **maps,
        }
        np.savez_compressed(folder / "maps/maps.npz", **arrays)
        write_examples(folder, descriptions, explainer, shown, maps)
        write_influence(folder, module, reader, prepared, shown_rows, descriptions, num_influential)
        write_channels(folder, module, reader, evidence, num_channels)
        write_concepts(folder, module, reader, prepared, concept_images, seed)
    print(format_table(verdicts, metrics))


def make_explainer(module: Model, reader: OutputReader, batch: Batch, num_deletion_steps: int, seed: int) -> Explainer:
    """Prepare a model for explaining inputs like those of the batch."""
    if isinstance(module, SequenceModel):
        return SequenceExplainer(module.network, reader, num_deletion_steps, seed)
    return ImageExplainer(ExplainedNetwork(module.network, batch.inputs[0], reader), num_deletion_steps, seed)


def run_methods(
    methods: list[str], explainer: Explainer, randomised: Explainer, evidence: Batch, shown: Batch
) -> tuple[dict[str, Metrics], dict[str, np.ndarray], list[Verdict]]:
    """Attribute the examples to show by each method, and measure it on the evidence; refuse those that do not apply.

    Returns:
        Metrics and maps of the methods that were not refused, and the verdicts on all of them, the best first.
    """
    random_auc = random_map_auc(explainer, evidence)
    metrics: dict[str, Metrics] = {}
    maps: dict[str, np.ndarray] = {}
    verdicts = []
    what = f"{len(methods)} methods on {len(evidence.targets)} examples, and {len(shown.targets)} maps by each to show"
    for method in announce_cost(methods, "explain", what):
        try:
            attributions = explainer.attribute(method, shown)
            metrics[method] = measure_method(method, explainer, randomised, evidence, random_auc)
        except NotApplicableError as reason:
            verdicts.append(Verdict(method, REFUSED, str(reason)))
        else:
            maps[method] = attributions.numpy()
            verdict = decide_verdict(method, metrics[method])
            verdicts.append(verdict._replace(reason=verdict.reason + explainer.describe_layer(method)))
    return metrics, maps, rank_verdicts(verdicts, metrics)


def randomise(module: AnyModule, seed: int) -> AnyModule:
    """Copy a model and reset its weights: the maps of a faithful method must change.

    Source: Adebayo et al., "Sanity checks for saliency maps", 2018, section 3.
    """
    copied = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in copied.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
    return copied.eval()
