"""A training that starts from an earlier model: what it inherits, freezes and reinitialises."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from leyden import SupervisedModule, UserError
from leyden.cli import main
from leyden.models.build import build_model
from leyden.training.warm_start import InheritedWeights, WarmStart, head_names
from tests.conftest import REPO
from tests.training.test_interruption import differences, run_killed
from tests.training.test_supervised_module import GREY

SMALL = ("-c", "configs/train.yaml", "--network.init_args.width=4", "--trainer.precision=32-true")


@pytest.fixture(scope="session")
def two_tasks(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed digits 0 to 4, a model of them (old.ckpt; old_last.ckpt with the optimizer), and packed digits 5 to 9."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, digits in (("old", "01234"), ("new", "56789"), ("both", "3456")):
        (folder / name).mkdir()
        for digit in digits:
            (folder / name / digit).symlink_to(trained / "data" / digit)
        assert main(["prepare", f"--data={folder}/{name}", f"--out={folder}/{name}-packed"]) == 0
    (folder / "configs").symlink_to(REPO / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *SMALL, "--data.folder=old-packed", "--trainer.max_epochs=6"]) == 0
        Path("artifacts/train/model.ckpt").rename("old.ckpt")
        next(Path("runs").glob("*/last.ckpt")).rename("old_last.ckpt")
    return folder


@pytest.fixture
def workspace(two_tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("configs", "old-packed", "new-packed", "both-packed", "old.ckpt", "old_last.ckpt"):
        (tmp_path / name).symlink_to(two_tasks / name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def network_weights(path: Path | str) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("model.network.")}


def changed_weights(path: Path | str) -> set[str]:
    """Return the names of the weights that differ from old.ckpt."""
    old, new = network_weights("old.ckpt"), network_weights(path)
    return {key.removeprefix("model.network.") for key in old if not torch.equal(old[key], new[key])}


def fit_new(*args: str) -> int:
    return main(["fit", *SMALL, "--data.folder=new-packed", "--model.start_from.path=old.ckpt", *args])


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("leyden.models.ResNet", {"width": 4}),
        ("leyden.models.EarlyExitNet", {"width": 4}),
        ("leyden.models.PatchTransformer", {"width": 8, "depth": 1}),
        ("torchvision.models.resnet18", {}),
    ],
)
def test_the_head_is_what_depends_on_the_number_of_labels(class_path, init_args):
    names = head_names(build_model({"class_path": class_path, "init_args": init_args}, ["a", "b"], GREY))
    assert names
    assert all(name.endswith((".weight", ".bias")) for name in names)
    assert all("head" in name or "fc" in name for name in names)


def test_what_turns_outputs_into_units_is_no_part_of_the_head():
    task = {"name": "regression", "mean": [1.0, 2.0], "std": [1.0, 1.0]}
    network = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4}}
    assert head_names(build_model(network, ["a", "b"], GREY, task)) == {"network.head.weight", "network.head.bias"}


def test_a_head_of_other_labels_is_reinitialised_even_if_it_fits(workspace, caplog, capsys):
    """Digits 5 to 9 are as many as 0 to 4."""
    assert fit_new("--trainer.max_epochs=1", "--model.start_from.freeze_epochs=1") == 0
    trained = changed_weights("artifacts/train/model.ckpt")
    assert trained
    assert all(name.startswith("head") for name in trained), "frozen weights or batch statistics have changed"
    assert "old.ckpt; initialised: network.head" in caplog.text + capsys.readouterr().err


def test_inherited_weights_train_after_the_frozen_epochs(workspace):
    assert fit_new("--trainer.max_epochs=2", "--model.start_from.freeze_epochs=1") == 0
    (last,) = Path("runs").glob("*/last.ckpt")
    trained = changed_weights(last)
    assert "stem.0.weight" in trained
    assert "stem.1.running_mean" in trained


def test_a_warm_start_saves_epochs(workspace):
    scores = []
    for args in ([], ["--model.start_from=old.ckpt"]):
        assert main(["fit", *SMALL, "--data.folder=both-packed", "--trainer.max_epochs=1", *args]) == 0
        scores.append(json.loads(Path("artifacts/train/metrics.json").read_text())["val/accuracy"])
    assert scores[1] > scores[0] + 0.1


def test_same_labels_keep_their_head(workspace):
    before = SupervisedModule(*spec_of("old.ckpt"), start_from="old.ckpt")
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in network_weights("old.ckpt").items())


def test_if_all_weights_are_inherited_none_are_frozen(workspace, caplog, capsys):
    args = [
        "--data.folder=old-packed",
        "--model.start_from.path=old.ckpt",
        "--model.start_from.freeze_epochs=1",
        "--trainer.max_epochs=1",
    ]
    assert main(["fit", *SMALL, *args]) == 0
    assert "all weights are inherited: freeze_epochs has no effect" in caplog.text + capsys.readouterr().err
    assert "stem.0.weight" in changed_weights("artifacts/train/model.ckpt")


def spec_of(path: str) -> tuple[dict, list[str], dict]:
    spec = torch.load(path, weights_only=True)["leyden"]
    return spec["network"], spec["labels"], spec["input"]


def test_a_killed_fine_tuning_ends_like_an_uninterrupted_one(workspace, monkeypatch):
    """Killed in the frozen epoch, at its end, and in a later one."""
    monkeypatch.setenv("PYTHONPATH", str(REPO), prepend=":")
    args = [
        *SMALL,
        f"--data.folder={workspace}/new-packed",
        f"--model.start_from.path={workspace}/old.ckpt",
        "--model.start_from.freeze_epochs=1",
        "--trainer.max_epochs=3",
        "--resume.every_steps=1",
    ]
    kills = [("step", 4), ("epoch_end", 1), ("step", 3), ("step", 3)]
    folders = [workspace / name for name in ("killed", "whole")]
    for folder in folders:
        folder.mkdir()
        (folder / "configs").symlink_to(REPO / "configs")
    assert run_killed(kills, args, *folders) == [-signal.SIGKILL] * len(kills) + [0]
    states = [torch.load(next((folder / "runs").glob("*/last.ckpt")), weights_only=True) for folder in folders]
    finals = [
        {key: state[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}
        for state in states
    ]
    assert differences(*finals) == []


def test_gradients_of_frozen_weights_are_computed_and_dropped(tmp_path):
    model = build_model({"class_path": "leyden.models.ResNet", "init_args": {"width": 4}}, ["a", "b"], GREY)
    checkpoint: dict = {"state_dict": {f"model.{key}": value for key, value in model.state_dict().items()}}
    torch.save(checkpoint | {"leyden": model.spec | {"labels": ["a", "c"]}}, path := tmp_path / "given.ckpt")
    inherited = InheritedWeights(WarmStart(str(path), freeze_epochs=1), model)
    inherited.freeze(0, drops_gradients=True)
    model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    inherited.drop_gradients(0)
    remaining = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert remaining == {"network.head.weight", "network.head.bias"}


def test_fixed_parameters_stay_fixed_and_inherited_ones_are_not_initialised_again(tmp_path):
    """FastCNN has a scale that is fixed at 1, and a first layer that is initialised to whiten the first batch."""
    network = {"class_path": "leyden.models.FastCNN", "init_args": {"widths": [8, 8, 8]}}
    old = build_model(network, ["a", "b"], GREY)
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in old.state_dict().items()}, "leyden": old.spec},
        path := tmp_path / "given.ckpt",
    )
    model = SupervisedModule(network, ["a", "b"], GREY, start_from=str(path))
    fixed = fixed_parameters(model)
    assert fixed
    model.inherited.freeze(1, drops_gradients=False)
    assert fixed_parameters(model) == fixed
    strategy = SimpleNamespace(broadcast=lambda state: state)
    model.trainer = SimpleNamespace(global_step=0, current_epoch=1, world_size=1, strategy=strategy)
    batch = torch.randint(0, 255, (8, 1, 8, 8), dtype=torch.uint8), torch.zeros(8, dtype=torch.long)
    model.on_train_batch_start(batch, 0)
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in model.model.state_dict().items())


def fixed_parameters(model: SupervisedModule) -> set[str]:
    return {name for name, parameter in model.model.named_parameters() if not parameter.requires_grad}


def test_continuing_inherits_the_moments_but_not_the_schedule(workspace):
    model = SupervisedModule(*spec_of("old.ckpt"), start_from=WarmStart("old_last.ckpt", mode="continue"))
    earlier = torch.load("old_last.ckpt", weights_only=True)["optimizer_states"][0]
    optimizer = model.optimizer(model.parameters())
    model.inherited.restore_optimizer(optimizer)
    state = optimizer.state_dict()
    assert differences(state["state"], earlier["state"]) == []
    assert state["state"][0]["step"] > 0
    assert state["param_groups"][0]["lr"] == 4e-3
    assert earlier["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(UserError, match="expected the kind of optimizer that the checkpoint was trained with; got SGD"):
        model.inherited.restore_optimizer(torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_training_can_be_continued(workspace):
    start = ["--model.start_from.path=old_last.ckpt", "--model.start_from.mode=continue"]
    assert main(["fit", *SMALL, "--data.folder=old-packed", "--trainer.fast_dev_run=1", *start]) == 0


def test_a_missing_checkpoint_is_refused(workspace, error_of):
    line = error_of("fit", *SMALL, "--data.folder=new-packed", "--model.start_from=nope.ckpt")
    assert "expected a checkpoint to start from at nope.ckpt" in line


@pytest.mark.parametrize(
    ("folder", "path"), [("old-packed", "old.ckpt"), ("new-packed", "old_last.ckpt")], ids=["no optimizer", "labels"]
)
def test_a_checkpoint_that_cannot_be_continued_is_refused(workspace, error_of, folder, path):
    start = [f"--model.start_from.path={path}", "--model.start_from.mode=continue"]
    line = error_of("fit", *SMALL, f"--data.folder={folder}", *start)
    assert "expected the same network and labels, and an optimizer's state" in line


def test_a_checkpoint_of_a_different_network_is_refused(workspace, error_of):
    network = "--network=torchvision.models.squeezenet1_0"
    data = "--data.folder=new-packed"
    line = error_of("fit", "-c", "configs/train.yaml", network, data, "--model.start_from=old.ckpt")
    assert "no weights fit" in line
