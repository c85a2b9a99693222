"""Odd output paths, and models, data and files that do not belong together: one error line, and nothing is lost."""

import errno
import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden.stages.export.safetensors
import leyden.stages.predict.inputs
from leyden.cli import main
from leyden.files.tables import read_table
from leyden.models import GRUClassifier
from leyden.models.checkpoint import write_checkpoint
from tests.trust.tampering import Bomb, edit_checkpoint

CKPT = "artifacts/train/model.ckpt"
FIT = ["fit", "--trainer.max_epochs=1", "--network.init_args.width=4", "--trainer.limit_train_batches=2"]
EXPLAIN = ["explain", "--methods=[saliency]", "--num_shown=2", "--num_evidence=2"]
SAFETENSORS = '--formats={"safetensors": ["fp32"]}'


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestNames:
    def test_a_tilde_is_the_home_folder(self, in_trained, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert main(["predict", CKPT, "data/3/0003.png", "--out=~/p.csv"]) == 0
        assert main(["report", "--out=~/page"]) == 0
        assert names(tmp_path) == ["p.csv", "page"]
        assert not Path("~").exists()

    def test_the_home_folder_of_an_unknown_user_is_refused(self, in_trained, error_of):
        assert "the home folder of an unknown user" in error_of("report", "--out=~no-such-user/page")

    @pytest.mark.parametrize("length", [233, 245, 255])
    @pytest.mark.parametrize("character", ["a", "\u732b"])
    def test_a_long_name_is_written_and_replaced(self, length, character, in_trained, tmp_path):
        out = tmp_path / (character * (length // len(character.encode())))
        for _ in range(2):
            assert main(["predict", CKPT, "data/3/0003.png", f"--out={out}"]) == 0
        out.unlink()
        for _ in range(2):
            assert main(["evaluate", "--robustness=[]", "--num_resamples=2", f"--out={out}"]) == 0
        assert names(tmp_path) == [out.name]

    def test_a_name_beyond_the_file_systems_limit_is_refused(self, in_trained, tmp_path, error_of):
        for verb in (["predict", CKPT, "data/3/0003.png"], ["report"]):
            assert "File name too long" in error_of(*verb, f"--out={tmp_path / ('a' * 256)}")
        out = f"--out={tmp_path / ('a' * 255)}"
        assert "File name too long" in error_of("evaluate", out, "--require={accuracy: 0.1}")  # beside it: a...-failed
        assert names(tmp_path) == []

    def test_a_name_that_is_not_utf8_is_written(self, in_trained, tmp_path):
        out = tmp_path / os.fsdecode(b"caf\xe9")
        assert main(["predict", CKPT, "data/3/0003.png", f"--out={out}"]) == 0
        assert out.is_file()


class TestFilesOfTheUser:
    def test_notes_beside_a_published_model_are_kept(self, workspace, error_of):
        assert main(FIT) == 0
        Path("artifacts/train/notes.txt").write_text("mine")
        line = error_of(*FIT, "--seed_everything=1")
        assert "expected artifacts/train to be missing, empty or an earlier result of train" in line
        assert "it contains other files (notes.txt), which would be lost" in line
        assert Path("artifacts/train/notes.txt").read_text() == "mine"
        assert len(names(Path("runs"))) == 1  # refused before the training
        Path("artifacts/train/notes.txt").unlink()
        assert main([*FIT, "--seed_everything=1"]) == 0

    def test_metrics_from_git_are_replaced_but_nothing_else_is(self, workspace, error_of):
        Path("artifacts/report").mkdir()
        Path("artifacts/report/metrics.json").touch()
        for name in "dcba":
            Path("artifacts/report", name).touch()
        assert "it contains other files (a, b, c and 1 more)" in error_of("report")
        for name in "dcba":
            Path("artifacts/report", name).unlink()
        assert main(["report"]) == 0
        assert "metrics.json" not in names(Path("artifacts/report"))

    @pytest.mark.parametrize("content", ["# My project\n", "path,label\na.png,3\n", "{}\n", "path,predict", "\0"])
    @pytest.mark.parametrize("verb", [["predict", CKPT, "data/3/0003.png"], ["compare", CKPT, CKPT]])
    def test_another_file_is_kept_and_an_earlier_result_is_replaced(
        self, verb, content, in_trained, tmp_path, error_of
    ):
        out = tmp_path / "out"
        out.write_text(content)
        assert "it is another file, which would be lost" in error_of(*verb, f"--out={out}")
        assert out.read_text() == content
        out.write_text("")
        for _ in range(2):
            assert main([*verb, f"--out={out}"]) == 0
        assert names(tmp_path) == ["out"]

    def test_a_path_that_no_file_can_have_is_one_error_line(self, in_trained, tmp_path, error_of):
        (tmp_path / "zero.yaml").write_text('title: x\nout: "a\\0b"\n')
        assert "without the character 0; got a\\x00b" in error_of("report", f"--config={tmp_path}/zero.yaml")


class TestRuns:
    def test_a_dangling_link_is_followed(self, workspace):
        Path("runs").symlink_to("disk/runs")
        assert main(FIT) == 0
        assert len(names(Path("disk/runs"))) == 1

    def test_a_file_is_one_error_line(self, workspace, error_of):
        Path("runs").write_text("mine")
        assert "expected to write runs/" in error_of(*FIT)
        assert Path("runs").read_text() == "mine"

    @pytest.mark.parametrize("content", ["{nonsense", "[]", "{}", "[" * 100_000])
    def test_a_damaged_record_of_an_earlier_run_is_ignored(self, content, workspace):
        Path("runs/earlier").mkdir(parents=True)
        Path("runs/earlier/identity.json").write_text(content)
        assert main(FIT) == 0


@pytest.fixture(scope="module")
def other_data(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of prepared data that differ from what the model was trained on in one way each."""
    folder = tmp_path_factory.mktemp("other")
    source = trained / "artifacts/prepare"
    for name in ("labels", "order"):
        shutil.copytree(source, folder / name)
        report = json.loads((source / "report.json").read_text())
        labels = report["labels"]
        report["labels"] = labels[::-1] if name == "order" else [f"x{label}" for label in labels]
        report["counts"] = {split: dict.fromkeys(report["labels"], 9) for split in report["counts"]}
        (folder / name / "report.json").write_text(json.dumps(report))
    assert main(["prepare", f"--data={trained}/data", f"--out={folder}/size", "--image_size=[12, 10]"]) == 0
    return folder


class TestModelAgainstData:
    @pytest.mark.parametrize("verb", [EXPLAIN, ["export", SAFETENSORS], ["evaluate"]], ids=lambda verb: verb[0])
    @pytest.mark.parametrize("difference", ["labels", "order"])
    def test_other_labels(self, verb, difference, in_trained, other_data, tmp_path, error_of):
        line = error_of(*verb, f"--data={other_data / difference}", f"--out={tmp_path}/out")
        assert "expected a model of the labels " in line
        assert f"{CKPT} has 0, 1, 2, 3, 4 and 5 more" in line
        assert ("in another order" in line) == (difference == "order")
        assert names(tmp_path) == []

    @pytest.mark.parametrize("verb", [EXPLAIN, ["export", SAFETENSORS]], ids=lambda verb: verb[0])
    def test_another_size(self, verb, in_trained, other_data, tmp_path, error_of):
        line = error_of(*verb, f"--data={other_data}/size", f"--out={tmp_path}/out")
        assert "expected images of 8x8 pixels and 1 channel(s)" in line
        assert "size holds images of 12x10 pixels and 1 channel(s)" in line
        assert names(tmp_path) == []

    def test_a_checkpoint_resizes_images_where_only_its_answers_count(self, in_trained, other_data, tmp_path):
        data = f"--data={other_data}/size"
        assert main(["compare", CKPT, CKPT, data, f"--out={tmp_path}/c.json"]) == 0

    def test_sequences_for_a_model_of_images(self, in_trained, sequences_prepared, tmp_path, error_of):
        data = f"--data={sequences_prepared}/artifacts/prepare"
        for verb in (EXPLAIN, ["export", SAFETENSORS], ["evaluate"]):
            line = error_of(*verb, data, f"--out={tmp_path}/out")
            assert "expected images of " in line
            assert "holds sequences of 2 feature(s); prepare other data" in line

    def test_images_for_a_model_of_sequences(self, in_trained, tmp_path, error_of):
        def change(checkpoint):
            checkpoint["leyden"]["network"] = {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 2}}
            checkpoint["leyden"]["input"] = {"features": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
            network = GRUClassifier(in_features=3, num_classes=10, width=2)
            weights = {f"model.network.{name}": value for name, value in network.state_dict().items()}
            weights |= {"model.preprocess.mean": torch.zeros(3), "model.preprocess.std": torch.ones(3)}
            checkpoint["state_dict"] = weights

        model = str(edit_checkpoint(CKPT, tmp_path / "model.ckpt", change))
        line = "expected sequences of 3 feature(s)"
        for verb in (EXPLAIN, ["export", SAFETENSORS], ["evaluate"]):
            assert line in error_of(*verb, f"--model={model}", f"--out={tmp_path}/out")
        assert line in error_of("compare", CKPT, model, f"--out={tmp_path}/out")


class TestCheckpointsForTraining:
    @pytest.mark.parametrize(
        "change",
        [
            lambda checkpoint: checkpoint["state_dict"].pop("model.network.head.weight"),
            lambda checkpoint: checkpoint["state_dict"].update({"model.x": torch.zeros(1)}),
            lambda checkpoint: checkpoint["state_dict"].update({"model.network.head.weight": torch.zeros(2, 2)}),
        ],
        ids=["missing", "extra", "shape"],
    )
    def test_weights_of_another_network_are_one_error_line(self, change, in_trained, tmp_path, error_of):
        model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", change)
        line = error_of("test", f"--ckpt_path={model}", "--network.init_args.width=8", "--trainer.precision=32-true")
        assert "expected the weights of the config's network" in line
        assert "; 1 differ, model." in line

    @pytest.mark.parametrize("state", [{0: {"exp_avg": torch.zeros(3)}}, {0: {"exp_avg": "x"}}, {0: 3}])
    def test_a_nonsensical_optimizers_state_is_one_error_line(self, state, workspace, trained, tmp_path, error_of):
        groups = torch.optim.AdamW([torch.zeros(1)], fused=False).state_dict()["param_groups"]
        optimizer = {"state": state, "param_groups": groups}
        change = lambda checkpoint: checkpoint.update(optimizer_states=[optimizer])  # noqa: E731
        model = edit_checkpoint(trained / CKPT, tmp_path / "model.ckpt", change)
        start = [f"--model.init_args.start_from.path={model}", "--model.init_args.start_from.mode=continue"]
        line = error_of(*FIT, "--network.init_args.width=8", *start)
        assert "expected the state of this optimizer" in line or "the kind of optimizer" in line
        assert not Path("artifacts/train").exists()

    def test_no_environment_variable_lets_a_pickle_run(self, in_trained, tmp_path, error_of, monkeypatch):
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        with zipfile.ZipFile(tmp_path / "model.ckpt", "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps(Bomb(), protocol=2))
            archive.writestr("model/version", b"3\n")
            archive.writestr("model/byteorder", b"little")
        assert "asks to run code" in error_of("predict", f"{tmp_path}/model.ckpt", "data/3", f"--out={tmp_path}/p.csv")
        assert not Path("ran").exists()


class TestFullDisk:
    def test_an_export_is_not_published_without_the_file_that_did_not_fit(
        self, in_trained, tmp_path, error_of, monkeypatch
    ):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(leyden.stages.export.safetensors, "save", raiser(full))
        assert "No space left on device" in error_of("export", SAFETENSORS, f"--out={tmp_path}/out")
        monkeypatch.setattr(leyden.stages.export.safetensors, "save", raiser(RuntimeError("iostream error")))
        monkeypatch.setattr(leyden.stages.export.export_job, "check_disk", raiser(full))
        assert "No space left on device" in error_of("export", SAFETENSORS, f"--out={tmp_path}/out")
        assert names(tmp_path) == []

    def test_torchs_own_error_is_the_systems_one(self):
        with pytest.raises(OSError, match="No space left on device"):
            write_checkpoint({"x": torch.zeros(100_000)}, Path("/dev/full"))


def raiser(error: Exception):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
@pytest.mark.parametrize(("args", "code"), [(["--version"], 0), (["nonsense"], 2)])
class TestClosedStreams:
    """The exit code stays the same, except that output which nothing reads is an error."""

    def test_a_stream_that_was_never_open(self, closed, args, code, python_env):
        command = shlex.join([sys.executable, "-m", "leyden", *args]) + (" >&-" if closed == "stdout" else " 2>&-")
        assert subprocess.run(["bash", "-c", command], env=python_env, check=False).returncode == code

    def test_a_pipe_that_nothing_reads(self, closed, args, code, python_env):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "leyden", *args]
        done = subprocess.run(command, env=python_env, check=False, **{closed: writer})
        os.close(writer)
        assert done.returncode == (2 if closed == "stdout" else code)


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_scores_that_nothing_reads_are_an_error_as_of_other_verbs(verb, in_trained, python_env):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "leyden", verb, "--network.init_args.width=8"]
    done = subprocess.run(command, env=python_env, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"leyden {verb}: expected to print all output; got: Broken pipe")


class TestDamagedFiles:
    @pytest.mark.parametrize("content", ["", "{nonsense", "[" * 100_000, "\0"])
    def test_a_damaged_report_is_one_error_line(self, content, in_trained, tmp_path, error_of):
        shutil.copytree("artifacts/prepare", tmp_path / "data")
        (tmp_path / "data/report.json").write_text(content)
        for verb in ("evaluate", "export", "explain"):
            line = error_of(verb, f"--data={tmp_path}/data", f"--out={tmp_path}/out")
            assert "expected JSON in" in line
            assert line.endswith("run `leyden prepare` again")

    @pytest.mark.parametrize("content", ["3", '["x", null]', '{"x": 1}', "[" * 100_000])
    def test_nonsense_in_the_records_of_published_files_trusts_nothing(self, content, tmp_path, monkeypatch, error_of):
        monkeypatch.chdir(tmp_path)
        for name in ("train/provenance.json", "export/report.json"):
            Path("artifacts", name).parent.mkdir(parents=True)
            Path("artifacts", name).write_text(content)
        with zipfile.ZipFile("model.torchscript", "w") as archive:
            archive.writestr("model/data.pkl", b"")
        Path("x.png").touch()
        assert "which is code; add --trust" in error_of("predict", "model.torchscript", "x.png")

    def test_any_exception_of_a_reader_of_sequences_is_a_reason_in_a_row(self, in_sequences, tmp_path, monkeypatch):
        def read(content: bytes):
            if b"bad" in content:
                raise ZeroDivisionError("a\nnew\tkind")
            return np.zeros((5, 1), np.float32), "npy"

        monkeypatch.setattr(leyden.stages.predict, "load", lambda *_, **__: FirstLabel())
        monkeypatch.setattr(leyden.stages.predict.inputs, "read_sequence", read)
        files = [tmp_path / "good.npy", tmp_path / "bad.npy"]
        for file in files:
            file.write_text(file.name)
        assert main(["predict", "m.ckpt", *map(str, files), f"--out={tmp_path}/p.csv"]) == 0
        good, bad = read_table(tmp_path / "p.csv", "predict")
        assert good["prediction"] == "a"
        assert bad["error"] == "ZeroDivisionError: a new kind"


class FirstLabel:
    """A model of sequences that always answers its first label."""

    labels, features, input, spec = ("a", "b"), 1, {"features": 1}, {"labels": ["a", "b"]}

    def __call__(self, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(values), 2)
