"""What shows a training: bar, TensorBoard, profiler; none of them makes it another run."""

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


def test_bar_tells_throughput_time_left_and_memory(workspace, capsys):
    assert main([*FIT, "--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=false"]) == 0
    bar = capsys.readouterr().out
    assert "examples/s=" in bar and "left=0:00:" in bar and "memory=" in bar and "val/accuracy=" in bar
    examples_per_s = float(bar.rsplit("examples/s=")[-1].split(",")[0])
    assert examples_per_s > 1


def test_tensorboard_goes_on_in_the_same_run(workspace):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    overlay = ("-c", "configs/trainer/tensorboard.yaml", "--trainer.callbacks+=leyden.training.monitoring.Histograms")
    assert main([*FIT[:3], *overlay, *FIT[3:]]) == 0
    (run,) = Path("runs").iterdir()
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"train/loss", "val/loss", "val/accuracy"} <= set(events.Tags()["scalars"])
    assert "model.network.head.weight" in events.Tags()["histograms"]
    assert "head" in str(events.Graph()) and "conv" in str(events.Graph())


def test_watching_does_not_make_it_another_run(workspace):
    pytest.importorskip("tensorboard")
    plain, watched = (
        LeydenCLI.parse("fit", [*FIT[1:3], *args]).run.folder
        for args in ((), ("-c", "configs/trainer/tensorboard.yaml"))
    )
    assert plain == watched != LeydenCLI.parse("fit", [*FIT[1:3], "--trainer.max_epochs=3"]).run.folder


def test_profile_prints_the_slowest_operators_and_keeps_a_trace(workspace, caplog):
    assert main([*FIT[:3], "-c", "configs/trainer/profile.yaml", *FIT[3:], "--trainer.limit_train_batches=3"]) == 0
    assert "aten::" in caplog.text and "Self CPU" in caplog.text
    assert len(list(Path("runs").glob("*/*.pt.trace.json"))) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow", "dvclive"])
def test_a_logger_whose_package_is_absent_is_one_line(name, workspace, error_of):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    assert f"expected the package {name}, which is not installed" in error_of(
        "fit", "-c", "configs/train.yaml", "-c", f"configs/trainer/{name}.yaml"
    )
