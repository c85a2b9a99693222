"""Verbs never overwrite or remove files that they did not write, or that they read."""

import csv
import json
import os
import shutil
import threading
import tty
from pathlib import Path
from types import SimpleNamespace

import pytest

import leyden.stages.predict
from leyden.cli import main
from leyden.files import replaced_folder

FOLDER_VERBS = {
    "prepare": [],
    "evaluate": ["--robustness=[]", "--num_resamples=20"],
    "export": ['--formats={"safetensors": ["fp32"]}'],
    "explain": ["--methods=[saliency]", "--num_shown=2", "--num_evidence=2"],
    "report": [],
}
MODEL = "artifacts/train/model.ckpt"
FILE_VERBS = {"predict": [MODEL, "data/3/0003.png"], "compare": [MODEL, MODEL]}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder with the user's own files."""
    (tmp_path / "precious/photos").mkdir(parents=True)
    (tmp_path / "precious/photos/holiday.jpg").write_bytes(b"the only copy")
    (tmp_path / "precious/notes.txt").write_text("mine")
    return tmp_path / "precious"


@pytest.mark.parametrize("verb", FOLDER_VERBS)
def test_a_folder_with_the_users_files_is_unchanged(verb, in_trained, precious, error_of):
    before = contents(precious)
    line = error_of(verb, *FOLDER_VERBS[verb], f"--out={precious}")
    assert f"an earlier result of {verb}; it contains other files" in line
    assert contents(precious) == before


def test_a_verb_replaces_its_own_results_but_not_those_of_another_verb(in_trained, tmp_path, error_of):
    assert main(["report", f"--out={tmp_path}/out"]) == 0
    (tmp_path / "out/index.html").write_text("old")
    before = contents(tmp_path / "out")
    assert "an earlier result of prepare" in error_of("prepare", f"--out={tmp_path}/out")
    assert contents(tmp_path / "out") == before
    assert main(["report", f"--out={tmp_path}/out"]) == 0
    assert (tmp_path / "out/index.html").read_text() != "old"


@pytest.mark.parametrize("name", [".git/HEAD", "CNAME", "notes/today.txt", ".leydenignore"])
def test_files_that_a_user_added_to_a_result_are_kept(name, in_trained, tmp_path, error_of):
    assert main(["report", f"--out={tmp_path}/out"]) == 0
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).write_text("mine")
    before = contents(tmp_path / "out")
    assert f"it contains other files ({name})" in error_of("report", f"--out={tmp_path}/out")
    assert contents(tmp_path / "out") == before


def test_an_empty_folder_is_used_ds_store_is_ignored_and_gitignore_and_permissions_are_kept(in_trained, tmp_path):
    (tmp_path / "out").mkdir(mode=0o700)
    for _ in range(2):
        assert main(["report", f"--out={tmp_path}/out"]) == 0
        (tmp_path / "out/.DS_Store").touch()
        (tmp_path / "out/.gitignore").write_text("/index.html\n")
    assert main(["report", f"--out={tmp_path}/out"]) == 0
    assert names(tmp_path / "out") == [".gitignore", ".leyden", "data.html", "index.html", "model_card.md"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("other")], ids=["folder", "pipe", "link"]
)
def test_a_marker_that_is_not_a_file_is_ignored(make, precious, error_of, in_trained):
    (precious / "other").write_text("report\nphotos/holiday.jpg\nnotes.txt\nother\n")
    make(precious / ".leyden")
    before = contents(precious / "photos")
    assert "it contains other files" in error_of("report", f"--out={precious}")
    assert contents(precious / "photos") == before


@pytest.mark.parametrize("location", [".", "..", "../work"])
def test_the_current_folder_is_not_replaced(location, in_trained, tmp_path, monkeypatch, error_of):
    reads = [f"--data={in_trained}/data"] + [
        f"--{name}={in_trained}/artifacts/{name}" for name in ("prepare", "train", "evaluate", "export", "explain")
    ]
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    scored = [f"--model={in_trained}/{MODEL}", f"--data={in_trained}/artifacts/prepare"]
    for args in (["report", *reads], ["evaluate", *scored]):
        assert "contains the current folder" in error_of(*args, f"--out={location}")


def test_fit_does_not_replace_its_data(workspace, error_of):
    Path("artifacts/train").mkdir()
    shutil.copytree("artifacts/prepare", "artifacts/train/packed")
    assert "contains artifacts/train/packed" in error_of(
        "fit", "--data.init_args.folder=artifacts/train/packed", "--trainer.max_epochs=1"
    )
    assert Path("artifacts/train/packed/report.json").is_file()
    assert not Path("runs").exists()


@pytest.mark.parametrize("owner", ["train", "report"])
def test_a_stage_replaces_its_folder_in_artifacts_without_a_marker_but_not_a_linked_one(
    owner, tmp_path, precious, monkeypatch
):
    """Versions before the marker, and clones of a repository, have no marker there."""
    monkeypatch.chdir(tmp_path)
    Path("artifacts", owner).mkdir(parents=True)
    Path("artifacts", owner, "metrics.json").touch()
    with replaced_folder(Path("artifacts", owner), owner):
        pass
    assert sorted(contents(tmp_path / "artifacts")) == [f"{owner}/.leyden"]
    shutil.rmtree(Path("artifacts", owner))
    Path("artifacts", owner).symlink_to(precious)
    before = contents(precious)
    with pytest.raises(Exception, match="it contains other files"), replaced_folder(Path("artifacts", owner), owner):
        pass
    assert contents(precious) == before


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_to_a_folder_is_followed(dangling, in_trained, tmp_path):
    if not dangling:
        (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    for _ in range(2):
        assert main(["report", f"--out={tmp_path}/out"]) == 0
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk/index.html").is_file()
    assert names(tmp_path) == ["disk", "out"]


@pytest.fixture
def copies(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with copies of the data and of the stages' results, none of them under artifacts/."""
    for source, name in (("data/3", "photos/3"), ("data/4", "photos/4"), ("artifacts/prepare", "packed")):
        shutil.copytree(trained / source, tmp_path / name)
    shutil.copytree(trained / "artifacts/train", tmp_path / "model")
    shutil.copytree(tmp_path / "packed", tmp_path / "old/prepare")
    (tmp_path / "old/evaluate").mkdir()
    (tmp_path / "old/evaluate/predictions.csv").write_text("path\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SCORED = ["--model=model/model.ckpt", "--data=packed"]
PREDICTIONS = "old/evaluate/predictions.csv"


@pytest.mark.parametrize(
    "args",
    [
        ["prepare", "--data=photos", "--out=photos"],
        ["prepare", "--data=photos", "--out=photos/packed"],
        ["prepare", "--data=photos", "--out=."],
        ["prepare", "--data=photos", "--out=out", "--shards=photos/shards"],
        ["prepare", "--data=photos", "--out=out", "--shards=out/shards"],
        ["evaluate", *SCORED, "--out=packed"],
        ["evaluate", *SCORED, "--out=model"],
        ["evaluate", "--model=new-failed/model.ckpt", "--data=packed", "--out=new", "--require={accuracy: 0.5}"],
        ["export", *SCORED, "--out=packed/export"],
        ["explain", *SCORED, "--out=photos/explain", "--concepts=photos"],
        ["report", "--prepare=packed", "--out=packed/report"],
        ["report", "--prepare=packed", "--data=photos", "--out=photos/report"],
        ["report", "--prepare=packed", "--out=old", "--against=old"],
        ["compare", "model/model.ckpt", "model/model.ckpt", "--data=packed", "--out=packed/report.json"],
        ["compare", "model/model.ckpt", "model/model.ckpt", "--data=packed", "--out=model/model.ckpt"],
        ["compare", PREDICTIONS, "model/model.ckpt", "--data=packed", f"--out={PREDICTIONS}"],
        ["predict", "model/model.ckpt", "photos", "--out=model/model.ckpt"],
        ["predict", "model/model.ckpt", "photos", "--out=photos/predicted.png"],
        ["predict", "model/model.ckpt", "photos/3/0003.png", "--out=photos/3/0003.png"],
    ],
    ids=lambda args: f"{args[0]} {args[-1]}",
)
def test_an_output_that_overlaps_an_input_is_refused(args, copies, error_of):
    before = contents(copies)
    line = error_of(*args)
    assert "expected an output separate from all inputs" in line
    assert "; choose a different --" in line
    assert contents(copies) == before


def test_a_failed_folder_with_the_users_files_is_kept(in_trained, tmp_path, error_of):
    args = ["evaluate", *FOLDER_VERBS["evaluate"], f"--out={tmp_path}/out"]
    (tmp_path / "out-failed").mkdir()
    (tmp_path / "out-failed/notes.txt").touch()
    assert main(args) == 0
    assert "out-failed" in error_of(*args, "--require={accuracy: 0.5}")
    assert names(tmp_path / "out-failed") == ["notes.txt"]


def test_the_failed_folder_is_removed_after_a_success(in_trained, tmp_path, error_of):
    args = ["evaluate", *FOLDER_VERBS["evaluate"], f"--out={tmp_path}/out"]
    error_of(*args, "--require={accuracy: 1.01}")
    assert names(tmp_path) == ["out-failed"]
    assert main(args) == 0
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("verb", FILE_VERBS)
class TestFiles:
    def test_a_symlink_is_followed_and_permissions_are_kept(self, verb, in_trained, tmp_path):
        (tmp_path / "real").touch(0o640)
        (tmp_path / "out").symlink_to("real")
        assert main([verb, *FILE_VERBS[verb], f"--out={tmp_path}/out"]) == 0
        assert (tmp_path / "out").readlink() == Path("real")
        assert (tmp_path / "real").read_text()
        assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
        assert names(tmp_path) == ["out", "real"]

    def test_a_pipe_is_written_to(self, verb, in_trained, tmp_path):
        os.mkfifo(tmp_path / "out")
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.append((tmp_path / "out").read_text()), daemon=True)
        reader.start()
        assert main([verb, *FILE_VERBS[verb], f"--out={tmp_path}/out"]) == 0
        assert (tmp_path / "out").is_fifo()
        reader.join()
        check_written(verb, read[0])

    def test_a_device_is_written_to(self, verb, in_trained, tmp_path):
        terminal, device = os.openpty()
        tty.setraw(device)
        (tmp_path / "out").symlink_to(os.ttyname(device))
        assert main([verb, *FILE_VERBS[verb], f"--out={tmp_path}/out"]) == 0
        assert (tmp_path / "out").is_char_device()
        check_written(verb, os.read(terminal, 4096).decode())
        os.close(device)
        os.close(terminal)

    def test_a_descriptor_is_appended_to_and_messages_go_to_stderr(self, verb, in_trained, tmp_path, capsys):
        """As with --out /dev/stdout >> file."""
        with open(tmp_path / "log", "w+") as file:
            file.write("before\n")
            file.flush()
            assert main([verb, *FILE_VERBS[verb], f"--out=/dev/fd/{file.fileno()}"]) == 0
        first, _, rest = (tmp_path / "log").read_text().partition("\n")
        assert first == "before"
        check_written(verb, rest)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"{verb}: ")

    def test_a_symlink_to_a_descriptor_is_appended_to(self, verb, in_trained, tmp_path):
        with open(tmp_path / "log", "w+") as file:
            (tmp_path / "out").symlink_to(f"/dev/fd/{file.fileno()}")
            file.write("before\n")
            file.flush()
            assert main([verb, *FILE_VERBS[verb], f"--out={tmp_path}/out"]) == 0
        assert (tmp_path / "log").read_text().startswith("before\n")
        assert (tmp_path / "out").is_symlink()

    def test_a_full_disk_is_one_error_line(self, verb, in_trained, error_of):
        assert "No space left on device" in error_of(verb, *FILE_VERBS[verb], "--out=/dev/full")

    def test_a_loop_of_symlinks_and_a_read_only_file_are_refused(
        self, verb, in_trained, tmp_path, error_of, monkeypatch
    ):
        (tmp_path / "loop").symlink_to("other")
        (tmp_path / "other").symlink_to("loop")
        assert "is a loop of symlinks" in error_of(verb, *FILE_VERBS[verb], f"--out={tmp_path}/loop")
        assert names(tmp_path) == ["loop", "other"]
        (tmp_path / "final.csv").write_text("mine")
        # Root may write everywhere.
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "final.csv")
        assert "is a read-only file" in error_of(verb, *FILE_VERBS[verb], f"--out={tmp_path}/final.csv")

    def test_a_folder_is_refused(self, verb, in_trained, precious, error_of):
        before = contents(precious)
        assert "precious is a folder; choose a different path" in error_of(verb, *FILE_VERBS[verb], f"--out={precious}")
        assert contents(precious) == before


def check_written(verb: str, text: str) -> None:
    if verb == "compare":
        assert json.loads(text)["accuracy_change"] == 0
    else:
        header, row = csv.reader(text.splitlines())
        assert header[0] == "path"
        assert row[0] == "data/3/0003.png"


def test_earlier_predictions_beside_the_images_are_not_an_input(copies):
    for _ in range(2):
        assert main(["predict", "model/model.ckpt", "."]) == 0
    assert Path("predictions.csv").is_file()


def test_predictions_beside_sequences_are_refused_because_they_could_be_read_as_one(
    in_sequences, tmp_path, monkeypatch, error_of
):
    shutil.copytree("data", tmp_path / "data")
    model = SimpleNamespace(labels=["down", "up"], features=2, spec={"labels": ["down", "up"]})
    monkeypatch.setattr(leyden.stages.predict, "load", lambda *_, **__: model)
    monkeypatch.chdir(tmp_path / "data")
    line = error_of("predict", "model.ckpt", ".")
    assert "predictions.csv is inside .; choose a different --out" in line
    assert not Path("predictions.csv").exists()


@pytest.mark.parametrize(
    ("verb", "location"),
    [
        *((verb, "file") for verb in FOLDER_VERBS),
        *(
            (verb, location)
            for verb in (*FOLDER_VERBS, *FILE_VERBS)
            for location in ("file/below", "/proc/nowhere/below")
        ),
    ],
)
def test_a_path_that_cannot_be_written_is_one_error_line(verb, location, in_trained, tmp_path, error_of):
    (tmp_path / "file").write_text("mine")
    line = error_of(verb, *(FOLDER_VERBS | FILE_VERBS)[verb], f"--out={tmp_path / location}")
    assert line.startswith(f"leyden {verb}: expected ")
    assert location.split("/below")[0] in line
    assert contents(tmp_path) == {"file": b"mine"}


def test_missing_permission_is_one_error_line_before_any_computation(in_trained, tmp_path, error_of, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write everywhere
    for verb, args in (FOLDER_VERBS | FILE_VERBS).items():
        assert f"{tmp_path} is not writable" in error_of(verb, *args, f"--out={tmp_path}/out")


def test_sample_keeps_an_existing_folder(precious, error_of):
    before = contents(precious)
    assert "move it away first" in error_of("sample", f"--out={precious}")
    assert contents(precious) == before


@pytest.mark.parametrize("name", [b"\xff.png", "a\u2028b.png".encode(), b"a\x0bb.png"])
def test_a_verbs_own_files_are_recognised_under_any_name(name, tmp_path):
    for _ in range(2):
        with replaced_folder(tmp_path / "out", "report") as folder:
            (folder / os.fsdecode(name)).touch()
    assert os.fsdecode(name) in names(tmp_path / "out")
