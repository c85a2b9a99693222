"""TensorBoard and profiler; none of them changes the run's fingerprint."""

import importlib.util
from pathlib import Path

import pytest

from leyden.cli import main
from leyden.training.cli import LeydenCLI

FIT = (
    "fit",
    "-c",
    "configs/train.yaml",
    "--network.init_args.width=4",
    "--trainer.precision=32-true",
    "--trainer.max_epochs=1",
)


def test_tensorboard_logs_scalars_histograms_and_the_graph_in_the_runs_folder(workspace):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    overlay = ("-c", "configs/trainer/tensorboard.yaml", "--trainer.callbacks+=leyden.training.monitoring.Histograms")
    assert main([*FIT[:3], *overlay, *FIT[3:]]) == 0
    (run,) = Path("runs").iterdir()
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"train/loss", "val/loss", "val/accuracy"} <= set(events.Tags()["scalars"])
    assert "model.network.head.weight" in events.Tags()["histograms"]
    assert "head" in str(events.Graph())
    assert "conv" in str(events.Graph())


def test_a_logger_does_not_change_the_fingerprint(workspace):
    pytest.importorskip("tensorboard")
    plain, logged = (
        LeydenCLI.parse("fit", [*FIT[1:3], *args]).run.folder
        for args in ((), ("-c", "configs/trainer/tensorboard.yaml"))
    )
    assert logged == plain
    assert LeydenCLI.parse("fit", [*FIT[1:3], "--trainer.max_epochs=3"]).run.folder != plain


def test_the_profiler_prints_the_slowest_operators_and_writes_a_trace(workspace, caplog):
    assert main([*FIT[:3], "-c", "configs/trainer/profile.yaml", *FIT[3:], "--trainer.limit_train_batches=3"]) == 0
    assert "aten::" in caplog.text
    assert "Self CPU" in caplog.text
    assert len(list(Path("runs").glob("*/*.pt.trace.json"))) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow", "dvclive"])
def test_a_logger_whose_package_is_not_installed_is_a_one_line_error(name, workspace, error_of):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    assert f"expected the package {name}, which is not installed" in error_of(
        "fit", "-c", "configs/train.yaml", "-c", f"configs/trainer/{name}.yaml"
    )
