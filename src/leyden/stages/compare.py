"""What one model gained and lost against another, on the same test examples: `leyden compare OLD NEW --data=OLD_DATA`."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from leyden.data.packed import read_examples, read_report
from leyden.errors import UserError
from leyden.files import write_json
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.runtimes.load import Predictor, load, predict_logits
from leyden.statistics.bootstrap import check_level
from leyden.statistics.mcnemar import compare_paired


def compare(
    old: Path,
    new: Path,
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("comparison.json"),
    batch_size: int = 256,
    num_resamples: int = 10_000,
    confidence_level: float = 0.95,
    seed: int = 0,
    trust: bool = False,
) -> None:
    """Score two models on a test split; on the old model's data, the change is what the new one forgot.

    Each names any of its own labels; examples of a label that one of them does not know are left out and counted.

    Args:
        old: A checkpoint or an exported file.
        new: Likewise; its labels may be others.
        data: Where `leyden prepare` wrote.
        out: Where accuracies, their change with its interval, and the examples gained and lost go, as JSON.
        batch_size: Examples at a time.
        num_resamples: Bootstrap resamples behind the interval.
        confidence_level: Share of resamples inside the interval, in (0, 1).
        seed: Of the bootstrap.
        trust: Load files even if they run code (TorchScript, AOTInductor's library, networks that are not of leyden, torchvision or
            timm); files that this project has published do not need it.
    """
    check_file(out)
    check_no_overlap(out, [old, new, data])
    check_level(confidence_level, "compare")
    examples, labels = read_examples(data, "test")
    names = read_report(data)["labels"]
    models = [load(path, trust=trust) for path in (old, new)]
    shared = [name for name in names if all(name in model.labels for model in models)]
    if not shared:
        theirs = "; ".join(
            f"{path} knows {', '.join(model.labels)}" for path, model in zip((old, new), models, strict=True)
        )
        raise UserError(
            f"expected models that share a label of {data} ({', '.join(names)}); {theirs}; nothing can be compared"
        )
    known = torch.tensor([name in shared for name in names])[torch.from_numpy(labels)]
    truth = torch.from_numpy(labels)[known]
    before, after = (
        is_right(model, predict_logits(model, examples, batch_size)[known], truth, names) for model in models
    )
    found = compare_paired(before.numpy(), after.numpy(), num_resamples, confidence_level, seed)
    metrics = found | {"labels": shared, "examples_left_out": int((~known).sum())}
    write_json(out, metrics)
    print(
        f"compare: accuracy {metrics['accuracy_old']:.4f} before, {metrics['accuracy_new']:.4f} after: change {metrics['accuracy_change']:+.4f} "
        f"[{metrics['accuracy_change_low']:+.4f}, {metrics['accuracy_change_high']:+.4f}]"
        f", p {metrics['accuracy_change_p_value']:.2g}, on {metrics['examples']:,} test examples of the "
        f"{len(shared)} labels that both know ({metrics['lost']} lost, {metrics['gained']} gained, {metrics['examples_left_out']} left out)",
        file=sys.stderr if is_stream(out) else sys.stdout,
    )


def is_right(model: Predictor, logits: Tensor, truth: Tensor, names: list[str]) -> Tensor:
    """Tell which of the logits (N, K) name the true label, bool (N,); `truth` (N,) counts in `names`, logits in the model's labels."""
    own = torch.tensor([model.labels.index(name) if name in model.labels else -1 for name in names])
    return logits.argmax(dim=1) == own[truth]
