"""`leyden tune`: reasonable suggestions, and no files left behind."""

from pathlib import Path

import pytest

from leyden import SupervisedModule
from leyden.cli import main
from leyden.stages.train.tuning import find_batch_size
from leyden.training.cli import LeydenCLI


def suggested_rate(out: str) -> float:
    (line,) = [line for line in out.splitlines() if line.startswith("--model.init_args.optimizer.init_args.lr=")]
    return float(line.split("=")[1])


@pytest.mark.parametrize("kind", ["images", pytest.param("sequences", marks=pytest.mark.slow)])
def test_it_suggests_a_learning_rate_and_leaves_no_file(
    kind, trained, sequences_prepared, monkeypatch, tmp_path, capsys
):
    folder = (trained if kind == "images" else sequences_prepared) / "artifacts"
    overlay = ["-c", "configs/experiment/sequences.yaml"] if kind == "sequences" else ["--network.init_args.width=8"]
    (tmp_path / "artifacts").symlink_to(folder)
    (tmp_path / "configs").symlink_to(trained / "configs")
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs"]
    assert main(["tune", "-c", "configs/train.yaml", *overlay, *logger]) == 0
    assert 1e-4 < suggested_rate(capsys.readouterr().out) < 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifacts", "configs"]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("kind", ["images", "sequences"])
def test_the_batch_size_is_doubled_until_memory_or_the_data_are_exhausted(
    kind, trained, sequences_prepared, monkeypatch, tmp_path
):
    overlay = ["-c", "configs/experiment/sequences.yaml"] if kind == "sequences" else ["--network.init_args.width=4"]
    monkeypatch.chdir(trained if kind == "images" else sequences_prepared)
    training_step = SupervisedModule.training_step

    def step_with_limited_memory(self, batch, batch_idx):
        if len(batch[1]) > 32:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return training_step(self, batch, batch_idx)

    sizes = []
    for step in (step_with_limited_memory, training_step):
        monkeypatch.setattr(SupervisedModule, "training_step", step)
        cli = LeydenCLI.parse("tune", ["-c", "configs/train.yaml", *overlay])
        cli.trainer.callbacks.clear()
        monkeypatch.setattr(cli.trainer, "_default_root_dir", str(tmp_path))
        sizes.append(find_batch_size(cli))
    num_examples = sum(cli.datamodule.class_counts)
    assert sizes[0] == 32
    assert num_examples / 2 <= sizes[1] <= 2 * num_examples
    assert list(Path(tmp_path).iterdir()) == []
