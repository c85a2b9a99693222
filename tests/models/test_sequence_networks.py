"""Networks for sequences: padding has no influence, truncation changes gradients only, and each network learns."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from leyden import UserError
from leyden.cli import main
from leyden.models import GRUClassifier, SwitchingClassifier
from leyden.models.sequence_model import SequenceModel

INPUT = {"features": 2, "mean": [1.0, -1.0], "std": [2.0, 0.5]}
VALUES = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([9, 3, 1, 6])


def model(name: str, **init_args) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel({"class_path": f"leyden.models.{name}", "init_args": init_args}, ["a", "b", "c"], INPUT)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("name", "init_args"),
    [
        ("TransformerClassifier", {"width": 16}),
        ("SwitchingClassifier", {"width": 5, "threshold": 1.0}),
        ("GRUClassifier", {"width": 5, "num_layers": 2, "tbptt_steps": 2}),
    ],
)
def test_padding_and_other_sequences_of_the_batch_have_no_influence(name, init_args, training):
    network = model(name, **init_args).train(training)
    logits, noisy = network(VALUES, LENGTHS), VALUES.clone()
    for row, length in enumerate(LENGTHS):
        noisy[row, length:] = 1e6
        alone = network(VALUES[row : row + 1, :length], LENGTHS[row : row + 1])
        assert torch.allclose(alone[0], logits[row], atol=1e-5)
    assert torch.allclose(network(noisy, LENGTHS), logits, atol=1e-5)
    # The preprocessing sets the padding to zero; the network must ignore any other padding, too.
    is_valid = torch.arange(9)[None, :, None] < LENGTHS[:, None, None]
    padded = torch.where(is_valid, network.preprocess(VALUES, LENGTHS), 7.0)
    assert torch.allclose(network.network(padded, LENGTHS), logits, atol=1e-5)


def compute_gradients(tbptt_steps: int | None, num_layers: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (B, K) of a GRU, and the gradient of their sum with respect to the values (B, T, F)."""
    torch.manual_seed(0)
    network = GRUClassifier(2, 3, width=5, num_layers=num_layers, tbptt_steps=tbptt_steps)
    values = VALUES.clone().requires_grad_()
    logits = network(values, LENGTHS)
    logits.sum().backward()
    return logits, values.grad


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tbptt_steps", [1, 3, 4, 50])
def test_truncation_keeps_the_logits(tbptt_steps, num_layers):
    truncated, whole = compute_gradients(tbptt_steps, num_layers), compute_gradients(None, num_layers)
    assert torch.allclose(truncated[0], whole[0], atol=1e-6)


def test_truncated_gradients_reach_back_to_the_last_detachment():
    reached = compute_gradients(4)[1].abs().sum(2) > 0
    # Nine steps are split into 4 + 4 + 1, and gradients reach the last part in each direction; six into 4 + 2.
    assert reached[0].tolist() == [True, *[False] * 7, True]
    assert reached[1].tolist() == [True] * 3 + [False] * 6
    assert reached[3].tolist() == [True, True, False, False, True, True, False, False, False]
    assert torch.allclose(compute_gradients(50)[1], compute_gradients(None)[1], atol=1e-6)
    with pytest.raises(UserError, match="tbptt_steps of at least 1"):
        model("GRUClassifier", tbptt_steps=0)


def test_the_order_of_steps_matters_to_attention():
    network = model("TransformerClassifier", width=16).eval()
    assert not torch.allclose(network(VALUES[:1], LENGTHS[:1]), network(VALUES[:1].flip(1), LENGTHS[:1]), atol=1e-4)
    long = torch.randn(1, 3000, 2)  # any length: there is no table of positions
    assert network(long, torch.tensor([3000])).isfinite().all()
    with pytest.raises(UserError, match="divisible by twice the heads; got width 12 and heads 4"):
        model("TransformerClassifier", width=12)


def test_quiet_steps_do_not_reach_the_cell():
    network, calls = SwitchingClassifier(1, 2, width=3, threshold=0.5), []
    network.loud.register_forward_hook(lambda cell, inputs, output: calls.append(inputs[0].flatten().tolist()))
    values = torch.tensor([[0.0, 0.1, 2.0, 2.1], [5.0, 5.0, 5.4, 5.6]])[..., None]
    network(values, torch.tensor([4, 4]))
    assert calls == [[0.0, 5.0], [2.0], [pytest.approx(5.6)]]
    calls.clear()
    network(values, torch.tensor([4, 3]))
    assert calls == [[0.0, 5.0], [2.0]]


def test_quiet_steps_decay_the_state_by_a_learned_weight():
    network = SwitchingClassifier(1, 2, width=3)
    short, long = (network(torch.ones(1, length, 1), torch.tensor([length])) for length in (1, 5))
    assert not torch.allclose(short, long)
    long.sum().backward()
    assert network.quiet.grad.abs().sum() > 0


@pytest.mark.parametrize("overlay", ["sequence_transformer", "sequence_switching", "sequence_tbptt"])
def test_each_network_learns(overlay, in_sequences, tmp_path):
    config = ["-c", "configs/train.yaml", "-c", f"configs/experiment/{overlay}.yaml"]
    assert main(["fit", *config, "--trainer.max_epochs=15", "--data.batch_size=16"]) == 0
    assert main(["evaluate", "--num_resamples=50", f"--out={tmp_path}/e"]) == 0
    rows = list(csv.DictReader(Path(tmp_path / "e/predictions.csv").read_text().splitlines()))
    assert np.mean([row["label"] == row["prediction"] for row in rows]) > 0.85
