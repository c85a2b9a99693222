"""The SupervisedModule's arguments: what they change, and which are refused."""

import pytest
import torch
from lightning.pytorch import Trainer
from torchvision.models.inception import InceptionOutputs

from leyden import SupervisedModule, UserError
from leyden.models.torchvision_segmentation import Heads
from leyden.training.execution import Execution
from leyden.training.mixing import Mixing
from leyden.training.schedules import Schedule

NETWORK = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4, "depths": [1]}}
GREY = {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]}


def test_loss_falls_on_one_batch():
    torch.manual_seed(0)
    model = SupervisedModule(NETWORK, ["a", "b"], GREY)
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


def test_images_are_normalised_by_the_model_alone():
    """Floats might be normalised already, or not: only raw pixels are unambiguous."""
    model = SupervisedModule(NETWORK, ["a", "b"], GREY)
    images, labels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    (inputs,), _ = model.prepare_inputs((images, labels), 0)
    assert torch.allclose(inputs, (images / 255 - 0.3) / 0.4)
    with pytest.raises(UserError, match=r"expected uint8 images \(B, 1, H, W\); got torch.float32"):
        model.training_step((inputs, labels), 0)


def test_mixtures_depend_on_the_seed_the_epoch_and_the_batch(monkeypatch):
    batch = torch.arange(16, dtype=torch.uint8).view(16, 1, 1, 1).expand(16, 1, 8, 8), torch.arange(16) % 2

    def mixed(seed: int = 0, epoch: int = 0, batch_idx: int = 0) -> list[float]:
        torch.manual_seed(seed)
        monkeypatch.setattr(SupervisedModule, "current_epoch", epoch)
        model = SupervisedModule(NETWORK, ["a", "b"], GREY, mixing=Mixing(mixup_alpha=1.0))
        return model.prepare_inputs(batch, batch_idx)[0][0][:, 0, 0, 0].tolist()

    assert mixed() == mixed()
    assert mixed() not in (mixed(seed=1), mixed(epoch=1), mixed(batch_idx=1))


def test_a_checkpoint_of_other_labels_is_refused():
    checkpoint: dict = {}
    SupervisedModule(NETWORK, ["a", "c"], GREY).on_save_checkpoint(checkpoint)
    with pytest.raises(UserError, match="expected a checkpoint of labels"):
        SupervisedModule(NETWORK, ["a", "b"], GREY).on_load_checkpoint(checkpoint)


def test_the_calibration_is_part_of_a_checkpoint():
    for task, found in (
        (None, {"temperature": 2.0}),
        ("regression", {"task": {"name": "regression", "radius": [3.0, 4.0]}}),
    ):
        first, second = (SupervisedModule(NETWORK, ["a", "b"], GREY, task and {"name": task}) for _ in range(2))
        first.model.spec |= found
        checkpoint: dict = {}
        first.on_save_checkpoint(checkpoint)
        second.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        second.on_load_checkpoint(checkpoint)
        assert second.model.spec | found == second.model.spec


def test_a_checkpoint_that_does_not_describe_its_network_is_refused():
    with pytest.raises(UserError, match="does not describe its network"):
        SupervisedModule(NETWORK, ["a", "b"], GREY).on_load_checkpoint({})


def test_channels_last_can_be_turned_off():
    colour = {**GREY, "channels": 3, "mean": [0.3] * 3, "std": [0.4] * 3}
    stems = [
        SupervisedModule(NETWORK, ["a", "b"], colour, execution=Execution(channels_last=flag)).model.network.stem[0]
        for flag in (True, False)
    ]
    assert [stem.weight.is_contiguous(memory_format=torch.channels_last) for stem in stems] == [True, False]


@pytest.mark.parametrize(
    ("make_arguments", "expected"),
    [
        (lambda: {"schedule": Schedule(warmup_fraction=1)}, r"warmup_fraction must lie in \[0, 1\); got 1"),
        (lambda: {"label_smoothing": -0.1}, "label_smoothing must lie in"),
        (lambda: {"mixing": Mixing(mixup_alpha=-1)}, "mixup_alpha must lie in"),
        (lambda: {"adversarial_epsilon": 1.1}, r"adversarial_epsilon must lie in \[0, 1\]; got 1.1"),
        (lambda: {"class_weights": {"a": -1}}, "a must lie in"),
        (
            lambda: {"execution": Execution(compile="eager", checkpoint_modules=["torch.nn.Conv2d"])},
            "expected compile or checkpoint_modules",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(make_arguments, expected):
    with pytest.raises(UserError, match=expected):
        SupervisedModule(NETWORK, ["a", "b"], GREY, **make_arguments())


def test_an_adversarial_epsilon_of_one_is_allowed():
    SupervisedModule(NETWORK, ["a", "b"], GREY, adversarial_epsilon=1)


def test_class_weights_by_name_and_by_count():
    assert SupervisedModule(NETWORK, ["a", "b"], GREY).loss.class_weights is None
    assert SupervisedModule(NETWORK, ["a", "b"], GREY, class_weights={"b": 3.0}).loss.class_weights.tolist() == [
        1.0,
        3.0,
    ]
    assert SupervisedModule(NETWORK, ["2", "3"], GREY, class_weights={3: 2.0}).loss.class_weights.tolist() == [1.0, 2.0]
    automatic = SupervisedModule(
        NETWORK, ["a", "b"], GREY, class_weights="auto", class_counts=[30, 10]
    ).loss.class_weights
    assert torch.allclose(automatic, torch.tensor([40 / 60, 2.0]))
    with pytest.raises(UserError, match="expected class_weights by class name"):
        SupervisedModule(NETWORK, ["a", "b"], GREY, class_weights={"c": 3.0})
    with pytest.raises(UserError, match="expected class_counts for class_weights: auto"):
        SupervisedModule(NETWORK, ["a", "b"], GREY, class_weights="auto")


def test_the_weighted_loss_of_a_batch_is_the_mean_of_its_parts_losses():
    """Otherwise several processes or accumulated batches would train differently from one large batch."""
    weighted = SupervisedModule(NETWORK, ["a", "b"], GREY, class_weights={"b": 9.0})
    logits, labels = torch.randn(6, 2), torch.tensor([0, 0, 0, 0, 1, 1])
    halves = [weighted._loss(logits[part], labels[part]) for part in (slice(3), slice(3, 6))]
    assert torch.allclose(torch.stack(halves).mean(), weighted._loss(logits, labels))


def test_auxiliary_heads_weigh_half_in_the_loss_and_others_are_equal():
    module = SupervisedModule(NETWORK, ["a", "b"], GREY)
    first, second, labels = torch.randn(6, 2), torch.randn(6, 2), torch.tensor([0, 1] * 3)
    losses = [module._loss(logits, labels) for logits in (first, second)]
    assert torch.allclose(module._loss((first, second), labels), sum(losses) / 2)
    for heads in (Heads(first, second), InceptionOutputs(first, second)):
        assert torch.allclose(module._loss(heads, labels), (losses[0] + 0.5 * losses[1]) / 1.5)


def test_class_weights_change_the_training_loss_only():
    torch.manual_seed(0)
    batch = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1] * 4)
    plain, weighted = (
        SupervisedModule(NETWORK, ["a", "b"], GREY, class_weights=weights) for weights in (None, {"b": 9.0})
    )
    weighted.load_state_dict(plain.state_dict())
    assert plain.training_step(batch, 0) != weighted.training_step(batch, 0)
    for model in (plain.eval(), weighted.eval()):
        model.validation_step(batch, 0)
        model.test_step(batch, 0)
    assert plain.val_scores.compute() == weighted.val_scores.compute()
    tested = {name.replace("test/", "val/"): value for name, value in plain.test_scores.compute().items()}
    assert tested == plain.val_scores.compute()


def test_the_loss_is_of_outputs_in_the_units_of_the_targets():
    task = {"name": "regression", "mean": [1000.0], "std": [10.0]}
    model = SupervisedModule(NETWORK, ["a"], GREY, task).eval()
    images, targets = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.full((8, 1), 1003.0)
    outputs = model(images).detach()
    assert float((outputs - 1000).abs().max()) < 100
    assert torch.allclose(model.training_step((images, targets), 0), model.loss(outputs, targets))
