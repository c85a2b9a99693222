"""The metrics separate a good map from a random one, and from one that does not depend on the model."""

import pytest
import torch
from torch import nn

from leyden.artifacts import CHANCE, NOT_ABOUT_THE_MODEL, REFUSED, TRUSTED
from leyden.stages.explain import methods
from leyden.stages.explain.batch import Batch
from leyden.stages.explain.faithfulness import gain_interval, measure_method, random_map_auc, rank_similarity
from leyden.stages.explain.images import ImageExplainer, measure_infidelity
from leyden.stages.explain.methods.gradients import completeness_error
from leyden.stages.explain.network import ExplainedNetwork
from leyden.stages.explain.verdict import Verdict, decide_verdict, format_table, rank_verdicts
from tests.stages.explain.patch_set import explain_network


@pytest.fixture(scope="module")
def explainer(cnn) -> ImageExplainer:
    return ImageExplainer(cnn, num_steps=8, seed=0)


@pytest.fixture(scope="module")
def randomised(patches) -> ImageExplainer:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))
    return ImageExplainer(explain_network(network, patches.images), num_steps=8, seed=0)


@pytest.fixture(scope="module")
def batch(patches) -> Batch:
    return Batch(None, (patches.images,), patches.labels, patches.labels)


@pytest.fixture(scope="module")
def random_auc(explainer, batch) -> tuple[torch.Tensor, torch.Tensor]:
    return random_map_auc(explainer, batch)


def test_a_good_map_beats_random_maps_and_its_opposite_does_not(explainer, batch, random_auc, patches):
    perfect = patches.inside.float()
    good_deletion, good_insertion = explainer.deletion_insertion_auc(batch, perfect)
    bad_deletion, _ = explainer.deletion_insertion_auc(batch, -perfect)
    deletion, insertion = random_auc
    assert good_deletion.shape == (32,)
    assert good_deletion.mean() < deletion.mean() - 0.1
    assert good_insertion.mean() > insertion.mean() + 0.1
    assert bad_deletion.mean() > deletion.mean() + 0.1


def test_areas_do_not_depend_on_the_other_images(explainer, batch, patches):
    all_deletion, all_insertion = explainer.deletion_insertion_auc(batch, patches.inside.float())
    one = Batch(None, (patches.images[3:4],), patches.labels[3:4], patches.labels[3:4])
    deletion, insertion = explainer.deletion_insertion_auc(one, patches.inside[3:4].float())
    assert all_deletion[3] == pytest.approx(float(deletion[0]), abs=1e-5)
    assert all_insertion[3] == pytest.approx(float(insertion[0]), abs=1e-5)


def noise(network, inputs, targets, reference):
    return torch.randn(len(inputs), 1, *inputs.shape[2:])


def brightness(network, inputs, targets, reference):
    return inputs.detach().abs()


@pytest.mark.parametrize(
    ("method", "verdict"),
    [(noise, CHANCE), (brightness, NOT_ABOUT_THE_MODEL), (methods.integrated_gradients, TRUSTED)],
)
def test_an_unfaithful_method_is_detected(method, verdict, explainer, randomised, batch, random_auc, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "tried", method)
    metrics = measure_method("tried", explainer, randomised, batch, random_auc)
    assert decide_verdict("tried", metrics).verdict == verdict, metrics
    assert metrics["gain_low"] < metrics["gain"] < metrics["gain_high"]
    assert metrics["examples"] == 32
    assert metrics["sensitivity_examples"] == 16


def test_a_gain_on_few_examples_is_not_certain():
    """A bootstrap would take three gains for certain that are positive by chance in one of eight cases."""
    assert gain_interval(torch.tensor([0.3])) == (-1, 1)
    assert gain_interval(torch.tensor([0.1, 0.2, 0.3]))[0] < 0
    low, high = gain_interval(torch.tensor([0.1, 0.2, 0.3] * 20))
    assert (low, high) == pytest.approx((0.2 - 0.0213, 0.2 + 0.0213), abs=1e-4)


@pytest.mark.parametrize("count", [2, 3, 8, 64])
def test_the_interval_of_a_gain_contains_the_true_one(count):
    gains = 0.1 * torch.randn(2000, count, generator=torch.Generator().manual_seed(0))
    covered = [low <= 0 <= high for low, high in map(gain_interval, gains)]
    assert 0.93 < sum(covered) / 2000 < 0.97


def test_sensitivity_is_measured_on_the_map_and_not_on_the_image(explainer, batch, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "constant", lambda network, inputs, *_: torch.ones(len(inputs), 1, 16, 16))
    monkeypatch.setitem(methods.METHODS, "steep", lambda network, inputs, *_: (1000 * inputs).sin())
    maps = torch.zeros(len(batch.targets), 16, 16)
    assert explainer.extra_metrics("constant", batch, maps)["sensitivity_max"] == 0
    assert explainer.extra_metrics("steep", batch, maps)["sensitivity_max"] > 0.5


@pytest.fixture
def linear(patches) -> tuple[ExplainedNetwork, torch.Tensor]:
    """A linear network, and its exact maps."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    maps = network[1].weight[patches.labels].view(-1, 16, 16).detach() * patches.images[:, 0]
    return explain_network(network, patches.images), maps


def test_infidelity_is_zero_for_exact_maps_and_large_for_those_of_other_images(linear, patches):
    network, maps = linear
    explained = patches.labels, patches.labels
    assert measure_infidelity(network, patches.images, maps, *explained, 0) < 1e-4
    assert measure_infidelity(network, patches.images, 7 * maps, *explained, 0) < 1e-4  # a map has no unit
    assert measure_infidelity(network, patches.images, maps.roll(1, 0), *explained, 0) > 0.5
    assert measure_infidelity(
        network, patches.images, torch.zeros_like(maps), patches.labels, patches.labels, 0
    ) == pytest.approx(1)


def test_completeness_error_is_the_fraction_that_is_missing(linear, patches):
    network, maps = linear
    explained = patches.labels, patches.labels
    assert completeness_error(network, patches.images, maps, *explained) < 1e-4
    assert completeness_error(network, patches.images, maps / 2, *explained) == pytest.approx(0.5, abs=1e-3)


def test_rank_similarity():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(50, 8, 8, generator=generator)
    assert rank_similarity(maps, maps.exp()) == pytest.approx(1)
    assert rank_similarity(maps, -maps) == pytest.approx(1)
    assert rank_similarity(maps, torch.rand(50, 8, 8, generator=generator)) < 0.2
    assert rank_similarity(maps, torch.zeros(50, 8, 8)) == 0


def test_the_table_is_aligned_and_the_best_comes_first():
    keys = ("deletion_auc", "insertion_auc", "infidelity", "sensitivity_max", "seconds_per_image")
    shared = dict.fromkeys(keys, 0.5) | {"randomisation_similarity": 0.1}
    gains = {"weak": (0.1, 0.05), "chance": (0.1, -0.1), "strong": (0.3, 0.2)}
    metrics = {name: shared | {"gain": gain, "gain_low": low, "gain_high": 0.5} for name, (gain, low) in gains.items()}
    verdicts = [decide_verdict(name, measured) for name, measured in metrics.items()]
    verdicts = rank_verdicts([*verdicts, Verdict("deep_lift", REFUSED, "why not")], metrics)
    assert [row.method for row in verdicts] == ["strong", "weak", "chance", "deep_lift"]
    header, *lines, refused, last = format_table(verdicts, metrics).splitlines()
    assert all(line.index("0.500") == header.index("deletion") for line in lines)
    assert last == "most trustworthy here: strong"
    assert refused.split() == ["deep_lift", "refused:", "why", "not"]
    assert refused.index("refused") == header.index("verdict")
    assert format_table(verdicts[2:], metrics).endswith("no method can be trusted here")
