"""Networks of sequences: padding has no influence, truncation changes gradients only, and each of them learns."""

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
def test_neither_padding_nor_neighbours_have_an_influence(name, init_args, training):
    network = model(name, **init_args).train(training)
    logits, noisy = network(VALUES, LENGTHS), VALUES.clone()
    for row, length in enumerate(LENGTHS):
        noisy[row, length:] = 1e6
        assert torch.allclose(
            network(VALUES[row : row + 1, :length], LENGTHS[row : row + 1])[0], logits[row], atol=1e-5
        )
    assert torch.allclose(network(noisy, LENGTHS), logits, atol=1e-5)
    # Without the model's own zeros behind the ends, the network itself must not look there.
    seen = network.preprocess(VALUES, LENGTHS)
    behind = torch.where(torch.arange(9)[None, :, None] < LENGTHS[:, None, None], seen, 7.0)
    assert torch.allclose(network.network(behind, LENGTHS), logits, atol=1e-5)


def gradients(tbptt_steps: int | None, num_layers: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the logits of a GRU and, per step, whether they depend on it by the gradient: bool (B, T)."""
    torch.manual_seed(0)
    network = GRUClassifier(2, 3, width=5, num_layers=num_layers, tbptt_steps=tbptt_steps)
    values = VALUES.clone().requires_grad_()
    logits = network(values, LENGTHS)
    logits.sum().backward()
    return logits, values.grad


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tbptt_steps", [1, 3, 4, 50])
def test_truncation_reads_the_same(tbptt_steps, num_layers):
    assert torch.allclose(gradients(tbptt_steps, num_layers)[0], gradients(None, num_layers)[0], atol=1e-6)


def test_truncated_gradients_reach_back_to_the_last_detachment():
    reached = gradients(4)[1].abs().sum(2) > 0
    # Nine steps are read as 4 + 4 + 1: the last from the front, and as read from the back, the first; six as 4 + 2.
    assert reached[0].tolist() == [True, *[False] * 7, True]
    assert reached[1].tolist() == [True] * 3 + [False] * 6
    assert reached[3].tolist() == [True, True, False, False, True, True, False, False, False]
    assert torch.allclose(gradients(50)[1], gradients(None)[1], atol=1e-6)
    with pytest.raises(UserError, match="tbptt_steps of at least 1"):
        model("GRUClassifier", tbptt_steps=0)


def test_the_order_of_steps_matters_to_attention():
    network = model("TransformerClassifier", width=16).eval()
    assert not torch.allclose(network(VALUES[:1], LENGTHS[:1]), network(VALUES[:1].flip(1), LENGTHS[:1]), atol=1e-4)
    long = torch.randn(1, 3000, 2)  # any length, without a table of positions
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


def test_quiet_steps_fade_the_memory_by_a_learned_weight():
    network = SwitchingClassifier(1, 2, width=3)
    short, long = (network(torch.ones(1, length, 1), torch.tensor([length])) for length in (1, 5))
    assert not torch.allclose(short, long)
    long.sum().backward()
    assert network.quiet.grad.abs().sum() > 0


@pytest.mark.parametrize("overlay", ["sequence_transformer", "sequence_switching", "sequence_tbptt"])
def test_each_learns_the_courses(overlay, in_sequences, tmp_path):
    args = [
        "-c",
        "configs/train.yaml",
        "-c",
        f"configs/experiment/{overlay}.yaml",
        "--trainer.max_epochs=15",
        "--data.batch_size=16",
    ]
    assert main(["fit", *args]) == 0
    assert main(["evaluate", "--num_resamples=50", f"--out={tmp_path}/e"]) == 0
    rows = list(csv.DictReader(Path(tmp_path / "e/predictions.csv").read_text().splitlines()))
    assert np.mean([row["label"] == row["prediction"] for row in rows]) > 0.85
