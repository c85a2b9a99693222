import pytest
import torch

from leyden.models.mixing import mix

INPUTS = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()
LABELS = torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_targets_are_the_shares_of_the_pixels(alphas):
    for step in range(20):
        inputs, targets = mix(INPUTS, LABELS, 4, *alphas, seed=[0, step])
        assert torch.allclose(targets.sum(1), torch.ones(4))
        # Each image's pixels are its label, so that their mean tells what the labels' mean must be.
        assert torch.allclose(inputs.mean(dim=(1, 2, 3)), (targets * LABELS).sum(1), atol=1e-5)


def test_mixup_blends_and_cutmix_pastes():
    blended, _ = mix(INPUTS, LABELS, 4, 1.0, 0.0, seed=[1])
    pasted, _ = mix(INPUTS, LABELS, 4, 0.0, 1.0, seed=[1])
    assert all(len(image.unique()) == 1 for image in blended)
    assert set(pasted.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_same_seed_same_mix_and_the_inputs_stay():
    before = INPUTS.clone()
    assert torch.equal(mix(INPUTS, LABELS, 4, 0.0, 1.0, [3])[0], mix(INPUTS, LABELS, 4, 0.0, 1.0, [3])[0])
    assert not torch.equal(mix(INPUTS, LABELS, 4, 1.0, 0.0, [3])[0], mix(INPUTS, LABELS, 4, 1.0, 0.0, [4])[0])
    assert torch.equal(INPUTS, before)
