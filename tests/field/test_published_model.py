"""The epoch that `leyden fit` publishes: why it was kept, and a warning where the choice is doubtful."""

import json
import re

from leyden.cli import main


def test_a_kept_epoch_within_the_warm_up_is_a_warning_and_its_reason_is_recorded(workspace, capfd):
    options = ["--network.init_args.width=4", "--trainer.precision=32-true", "--trainer.max_epochs=4"]
    options += ["--trainer.limit_train_batches=3", "--model.init_args.schedule.warmup_fraction=0.9"]
    options += ["--checkpoint.mode=max"]  # the worst epoch, which is none after the warm-up
    assert main(["fit", "-c", "configs/train.yaml", *options]) == 0
    kept = json.loads((workspace / "artifacts/train/provenance.json").read_text())["kept_epoch"]
    assert re.fullmatch(r"epoch [123] of 4 has the highest val/loss \([\d.]+\)", kept["reason"])
    errors = capfd.readouterr().err
    assert [f"fit: warning: {warning}" for warning in kept["warnings"]] == [
        line for line in errors.splitlines() if line.startswith("fit: warning: ")
    ]
    assert any("ends within the warm-up of the learning rate" in warning for warning in kept["warnings"])


def test_a_model_that_has_learned_is_published_without_a_warning(in_trained):
    kept = json.loads((in_trained / "artifacts/train/provenance.json").read_text())["kept_epoch"]
    assert kept["warnings"] == []
