"""The evidence tells a good map from chance, and from one that is not about the model."""

import pytest
import torch
from torch import nn

from leyden.stages.explain import methods
from leyden.stages.explain.evidence import Evidence, areas_of, infidelity_of, measure, rank_similarity
from leyden.stages.explain.methods.gradients import completeness_error
from leyden.stages.explain.network import ExplainedNetwork
from leyden.stages.explain.verdict import BLIND, CHANCE, REFUSED, TRUSTED, Verdict, judge, ranked, table


@pytest.fixture(scope="module")
def evidence(cnn, known) -> Evidence:
    randomised = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))
    return Evidence(cnn, ExplainedNetwork(randomised, known.images), known.images, known.labels, num_steps=8, seed=0)


def test_a_good_map_beats_chance_and_its_opposite_does_not(evidence, known):
    truth = known.inside.float()
    (good_deletion, good_insertion), (bad_deletion, _), (deletion, insertion) = (
        evidence.areas(truth),
        evidence.areas(-truth),
        evidence.chance,
    )
    assert (
        good_deletion.shape == (32,)
        and good_deletion.mean() < deletion.mean() - 0.1
        and good_insertion.mean() > insertion.mean() + 0.1
    )
    assert bad_deletion.mean() > deletion.mean() + 0.1


def test_areas_are_each_images_own(cnn, known):
    whole = areas_of(cnn, known.images, known.inside.float(), known.labels, 8)
    part = areas_of(cnn, known.images[3:4], known.inside[3:4].float(), known.labels[3:4], 8)
    assert whole[0][3] == pytest.approx(float(part[0][0]), abs=1e-5) and whole[1][3] == pytest.approx(
        float(part[1][0]), abs=1e-5
    )


def noise(network, inputs, targets):
    return torch.randn(len(inputs), 1, *inputs.shape[2:])


def brightness(network, inputs, targets):
    return inputs.detach().abs()


@pytest.mark.parametrize(
    ("method", "verdict"), [(noise, CHANCE), (brightness, BLIND), (methods.integrated_gradients, TRUSTED)]
)
def test_an_unfaithful_method_is_found_out(method, verdict, evidence, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "tried", method)
    figures = measure("tried", evidence)
    assert judge("tried", figures).verdict == verdict, figures
    assert (
        figures["gain_low"] < figures["gain"] < figures["gain_high"]
        and figures["examples"] == 32
        and figures["sensitivity_examples"] == 16
    )


def test_sensitivity_is_of_the_map_and_not_of_the_image(evidence, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "same", lambda network, inputs, targets: torch.ones(len(inputs), 1, 16, 16))
    monkeypatch.setitem(methods.METHODS, "steep", lambda network, inputs, targets: (1000 * inputs).sin())
    assert measure("same", evidence)["sensitivity_max"] == 0 and measure("steep", evidence)["sensitivity_max"] > 0.5


@pytest.fixture
def linear(known) -> tuple[ExplainedNetwork, torch.Tensor]:
    """A linear network, and its maps, which are known."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    maps = network[1].weight[known.labels].view(-1, 16, 16).detach() * known.images[:, 0]
    return ExplainedNetwork(network, known.images), maps


def test_infidelity_is_none_for_the_truth_and_large_for_the_next_image(linear, known):
    network, maps = linear
    assert infidelity_of(network, known.images, maps, known.labels, 0) < 1e-4
    assert infidelity_of(network, known.images, 7 * maps, known.labels, 0) < 1e-4  # a map knows no unit
    assert infidelity_of(network, known.images, maps.roll(1, 0), known.labels, 0) > 0.5
    assert infidelity_of(network, known.images, torch.zeros_like(maps), known.labels, 0) == pytest.approx(1)


def test_completeness_error_is_the_share_that_is_missing(linear, known):
    network, maps = linear
    assert completeness_error(network, known.images, maps, known.labels) < 1e-4
    assert completeness_error(network, known.images, maps / 2, known.labels) == pytest.approx(0.5, abs=1e-3)


def test_rank_similarity():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(50, 8, 8, generator=generator)
    assert rank_similarity(maps, maps.exp()) == pytest.approx(1) and rank_similarity(maps, -maps) == pytest.approx(1)
    assert rank_similarity(maps, torch.rand(50, 8, 8, generator=generator)) < 0.2
    assert rank_similarity(maps, torch.zeros(50, 8, 8)) == 0


def test_the_table_is_aligned_and_the_best_comes_first():
    keys = ("deletion_auc", "insertion_auc", "infidelity", "sensitivity_max", "seconds_per_image")
    usual = dict.fromkeys(keys, 0.5) | {"randomisation_similarity": 0.1}
    gains = {"weak": (0.1, 0.05), "chance": (0.1, -0.1), "strong": (0.3, 0.2)}
    metrics = {name: usual | {"gain": gain, "gain_low": low, "gain_high": 0.5} for name, (gain, low) in gains.items()}
    verdicts = ranked(
        [*(judge(name, figures) for name, figures in metrics.items()), Verdict("deep_lift", REFUSED, "why not")],
        metrics,
    )
    assert [row.method for row in verdicts] == ["strong", "weak", "chance", "deep_lift"]
    header, *lines, refused, last = table(verdicts, metrics).splitlines()
    assert all(line.index("0.500") == header.index("deletion") for line in lines) and last == "trust most here: strong"
    assert refused.split() == ["deep_lift", "refused:", "why", "not"] and refused.index("refused") == header.index(
        "verdict"
    )
    assert table(verdicts[2:], metrics).endswith("no method is to be trusted here")
