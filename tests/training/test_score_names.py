"""What the name of a score tells about it."""

import pytest

from leyden.errors import UserError
from leyden.training.score_names import check_mode, guess_mode, is_validation_score

NAMES = {
    "min": ("val/loss", "val_bce_loss", "valLoss", "test/mae", "RMSE", "val/error", "val-err", "nll.test", "acc_loss"),
    "max": ("val/accuracy", "val_acc", "val/AUROC", "mean_iou", "miou", "mAP", "val/f1", "f1-macro", "r2", "acc@top5"),
    None: ("val_vibe", "terror", "mapping", "lost", "accurate", "f1x", ""),
}


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for mode, names in NAMES.items() for name in names])
def test_a_word_of_the_name_tells_whether_lower_or_higher_is_better(name, mode):
    assert guess_mode(name) == mode
    if mode:
        check_mode(name)
    else:
        with pytest.raises(UserError, match=f"expected checkpoint.mode, since the name {name} does not tell"):
            check_mode(name)


def test_validation_scores_have_their_split_first():
    assert is_validation_score("val/loss")
    assert not is_validation_score("train/val")
