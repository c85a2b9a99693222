"""What one model gained and lost against another, on the same test examples: `leyden compare OLD NEW --data=OLD_DATA`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.data.packed import read_examples, read_report
from leyden.errors import UserError
from leyden.files import write_json
from leyden.models.load import Predictor, load, predict_logits


def compare(
    old: Path,
    new: Path,
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("comparison.json"),
    batch_size: int = 256,
    num_resamples: int = 10_000,
    confidence_level: float = 0.95,
    seed: int = 0,
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
    """
    if not 0 < confidence_level < 1:
        raise UserError(f"compare.confidence_level must lie in (0, 1); got {confidence_level}; give another")
    examples, labels = read_examples(data, "test")
    names = read_report(data)["labels"]
    models = [load(old), load(new)]
    shared = [name for name in names if all(name in model.labels for model in models)]
    if not shared:
        theirs = "; ".join(f"{path} knows {', '.join(model.labels)}" for path, model in zip((old, new), models, strict=True))
        raise UserError(f"expected models that share a label of {data} ({', '.join(names)}); {theirs}; nothing can be compared")
    known = torch.tensor([name in shared for name in names])[torch.from_numpy(labels)]
    truth = torch.from_numpy(labels)[known]
    before, after = (is_right(model, predict_logits(model, examples, batch_size)[known], truth, names) for model in models)
    metrics = changes(before, after, num_resamples, confidence_level, seed) | {"labels": shared, "examples_left_out": int((~known).sum())}
    write_json(out, metrics)
    print(
        f"compare: accuracy {metrics['accuracy_old']:.4f} before, {metrics['accuracy_new']:.4f} after: change {metrics['accuracy_change']:+.4f} "
        f"[{metrics['accuracy_change_low']:+.4f}, {metrics['accuracy_change_high']:+.4f}] on {metrics['examples']:,} test examples of the "
        f"{len(shared)} labels that both know ({metrics['lost']} lost, {metrics['gained']} gained, {metrics['examples_left_out']} left out)"
    )


def is_right(model: Predictor, logits: Tensor, truth: Tensor, names: list[str]) -> Tensor:
    """Tell which of the logits (N, K) name the true label, bool (N,); `truth` (N,) counts in `names`, logits in the model's labels."""
    own = torch.tensor([model.labels.index(name) if name in model.labels else -1 for name in names])
    return logits.argmax(dim=1) == own[truth]


def changes(old: Tensor, new: Tensor, num_resamples: int, confidence_level: float, seed: int) -> dict[str, Any]:
    """Compare which examples, bool (N,), two models got right.

    The interval is of pairs: both models saw the same examples, so that only those on which they differ count. As in a
    confusion matrix, drawing examples with replacement is drawing the three counts from a multinomial.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    lost, gained, total = int((old & ~new).sum()), int((new & ~old).sum()), len(old)
    draws = np.random.default_rng(seed).multinomial(total, np.array([lost, gained, total - lost - gained]) / total, size=num_resamples)
    low, high = np.quantile((draws[:, 1] - draws[:, 0]) / total, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return {
        "accuracy_old": float(old.float().mean()),
        "accuracy_new": float(new.float().mean()),
        "accuracy_change": (gained - lost) / total,
        "accuracy_change_low": float(low),
        "accuracy_change_high": float(high),
        "lost": lost,
        "gained": gained,
        "examples": total,
        "confidence_level": confidence_level,
    }
