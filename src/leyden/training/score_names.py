"""What the name of a score tells about it."""

import re
from typing import Literal

from leyden.errors import UserError

# Words, or their beginnings, of scores of which a lower or a higher one is better.
LOWER = r"loss|.*loss|err(or)?|mae|mse|rmse|nll|perplexity|ppl|wer|cer|fid|ece|brier|distance|deviance|entropy"
HIGHER = (
    r"acc(uracy)?|au(ro)?c|auprc|f1|precision|recall|m?iou|jaccard|dice|m?ap|r2|psnr|ssim|score|kappa|bleu|top\d|"
    r"sensitivity|specificity|correlation|pearson|spearman"
)


def guess_mode(monitor: str) -> Literal["min", "max"] | None:
    """Return whether a lower or a higher score is better, by the words of its name; None if they do not tell."""
    words = re.split(r"[^a-z0-9]+", monitor.lower())
    if any(re.fullmatch(LOWER, word) for word in words):
        return "min"
    if any(re.fullmatch(HIGHER, word) for word in words):
        return "max"
    return None


def check_mode(monitor: str) -> None:
    """Raise UserError if a score's name does not tell whether lower or higher is better."""
    if guess_mode(monitor) is None:
        raise UserError(
            f"expected checkpoint.mode, since the name {monitor} does not tell whether lower or higher is better; "
            "got null; set it to min or max"
        )


def is_validation_score(name: str) -> bool:
    return name.startswith("val")
