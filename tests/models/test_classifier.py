import pytest
import torch

from leyden import Classifier, UserError
from leyden.models.classifier import warmup_cosine

NETWORK = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4, "depths": [1]}}
GREY = {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]}


def test_learning_rate_rises_then_falls_to_nothing():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == sorted(factors[:10]) and max(factors) == factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True) and factors[100] == pytest.approx(0)
    assert factors[0] > 0


def test_loss_falls_on_one_batch():
    torch.manual_seed(0)
    model = Classifier(NETWORK, ["a", "b"], GREY)
    images, labels = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8), torch.arange(16) % 2
    optimizer = model.optimizer(model.parameters())
    losses = []
    for _ in range(60):
        loss = model.training_step((images, labels), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_a_checkpoint_of_other_labels_is_refused():
    ours, theirs = Classifier(NETWORK, ["a", "b"], GREY), Classifier(NETWORK, ["a", "c"], GREY)
    checkpoint: dict = {}
    theirs.on_save_checkpoint(checkpoint)
    with pytest.raises(UserError, match="expected a checkpoint of labels"):
        ours.on_load_checkpoint(checkpoint)
    with pytest.raises(UserError, match="does not describe its network"):
        ours.on_load_checkpoint({})


def test_convolutions_are_channels_last_unless_asked_otherwise():
    colour = {**GREY, "channels": 3, "mean": [0.3] * 3, "std": [0.4] * 3}
    stems = [Classifier(NETWORK, ["a", "b"], colour, channels_last=flag).model.network.stem[0] for flag in (True, False)]
    assert [stem.weight.is_contiguous(memory_format=torch.channels_last) for stem in stems] == [True, False]
