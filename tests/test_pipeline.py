"""What a user does with the whole project: run it, run it again, kill it, change values, delete a stage."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import REPO, SHAPES, export_less, write_shapes


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "artifacts/train/model.ckpt", weights_only=True)["state_dict"]


# The stages that DVC runs again after an edit of a file. Neither statistics/, runtimes/ nor doctor/ retrains.
INVALIDATED_BY = {
    "statistics/wilson.py": {"evaluate", "export", "explain", "report"},
    "runtimes/onnx_runtime.py": {"evaluate", "export", "explain"},
    "stages/doctor/memory.py": set(),
    "stages/export/pt2.py": {"export"},
    "training/muon.py": {"train"},
}


def test_killed_pipeline_resumes_and_is_then_up_to_date(checkout, run, python_env):
    config = checkout / "configs/train.yaml"
    config.write_text(config.read_text().replace("max_epochs: 20", "max_epochs: 10"))
    export_less(checkout)
    run("leyden sample")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["dvc", "repro"], cwd=checkout, env=python_env, start_new_session=True, **quiet)
    deadline = time.monotonic() + 180
    while not any(path.read_text().count("\n") > 5 for path in checkout.glob("runs/*/curves.csv")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (checkout / "artifacts/train/model.ckpt").exists()
    output = run("dvc repro")
    assert "fit: continues in runs/" in output
    assert "epoch   1/10" not in output
    assert (checkout / "artifacts/report/index.html").is_file()
    assert "up to date" in run("dvc repro")
    weights = weights_of(checkout)

    # Only what depends on an edit runs again.
    for path, stages in INVALIDATED_BY.items():
        source = checkout / "src/leyden" / path
        original = source.read_text()
        source.write_text(f"{original}# edited\n")
        assert set(json.loads(run("dvc status --json"))) == stages, path
        source.write_text(original)

    dag = run("dvc dag --dot")
    for edge in ('"data.dvc" -> "prepare"', '"prepare" -> "train"', '"explain" -> "report"'):
        assert edge in dag
    shown = json.loads(run("dvc metrics show --json"))
    assert set(next(iter(shown.values()))["data"]) == {
        f"artifacts/{stage}/metrics.json" for stage in ("train", "evaluate", "explain")
    }
    shown_plots = run("dvc plots show -o plots")
    assert "WARNING" not in shown_plots and "failed" not in shown_plots
    assert len(list((checkout / "plots/static").iterdir())) == 1  # calibration
    assert "val/loss" in (checkout / "plots/index.html").read_text()
    assert "artifacts/train/model.ckpt" in (checkout / "dvc.yaml").read_text()

    (checkout / "runs").rename(checkout / "interrupted")
    run("python src/leyden fit -c configs/train.yaml")
    uninterrupted = weights_of(checkout)
    assert all(torch.equal(weights[key], uninterrupted[key]) for key in weights | uninterrupted)


def test_experiments_change_values_and_show_their_effect(checkout, run):
    run("leyden sample")
    values = {"trainer.max_epochs": 1, "+network.init_args.width": 4, "model.init_args.optimizer.init_args.lr": 0.01}
    run(
        "dvc exp run --name small train "
        + " ".join(f"-S configs/train.yaml:{key}={value}" for key, value in values.items())
    )
    table = run("dvc exp show --csv")
    for name in ("small", "network.init_args.width", "val/accuracy"):
        assert name in table
    config = yaml.safe_load((checkout / "artifacts/train/config.yaml").read_text())
    assert config["network"]["init_args"]["width"] == 4
    assert config["trainer"]["max_epochs"] == 1
    assert "# the peak, after the warm-up" in (checkout / "configs/train.yaml").read_text()


def test_make_data_writes_the_sample_or_pulls_from_a_remote_or_reports_what_to_do(made, run, tmp_path):
    run("make data")
    assert len(list((made / "data").glob("*/*.png"))) == 1797

    shutil.rmtree(made / "data")
    write_shapes(made / "data", per_class=3)
    run("dvc add data")
    shutil.rmtree(made / "data")
    assert "no DVC remote is set" in run("make data", code=2)
    assert not (made / "data").exists()

    (tmp_path / "remote").mkdir()
    run(f"dvc remote add -d storage '{tmp_path}/remote' && dvc push && rm -r .dvc/cache && make data")
    assert sorted(path.name for path in (made / "data").iterdir()) == sorted(SHAPES)


def test_make_repro_downloads_what_a_colleague_has_pushed_and_runs_nothing(made, run, tmp_path, python_env):
    stages = {
        "one": {"cmd": "echo ran >> runs.txt; cp -r data one", "deps": ["data"], "outs": ["one"]},
        "two": {"cmd": "echo ran >> runs.txt; ls one > two.txt", "deps": ["one"], "outs": ["two.txt"]},
    }
    (made / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (made / "dvc.lock").unlink()
    (tmp_path / "remote").mkdir()
    run(f"dvc remote add -d storage '{tmp_path}/remote' && make repro")  # the remote is empty
    assert (made / "runs.txt").read_text() == "ran\n" * 2
    run("dvc push && git -c user.name=t -c user.email=t@t commit -qam run")

    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", made, clone], check=True)
    (clone / ".venv").symlink_to(made / ".venv")
    os.utime(made / ".venv/.installed")
    subprocess.run(["make", "repro"], cwd=clone, env=python_env, check=True, capture_output=True, timeout=600)
    assert not (clone / "runs.txt").exists()
    assert (clone / "two.txt").read_text() == (made / "two.txt").read_text()
    assert len(list((clone / "data").glob("*/*.png"))) == 1797


def test_a_users_file_in_a_stages_folder_survives(checkout, run):
    shutil.rmtree(checkout / "data", ignore_errors=True)
    write_shapes(checkout / "data", per_class=10)
    run("dvc add data && dvc repro prepare")
    (checkout / "artifacts/prepare/notes.txt").write_text("mine")
    assert "contains other files (notes.txt)" in run("dvc repro prepare", code=255)
    assert (checkout / "artifacts/prepare/notes.txt").read_text() == "mine"
    assert (checkout / "artifacts/prepare/labels.json").is_file()
    (checkout / "artifacts/prepare/notes.txt").unlink()
    assert "up to date" in run("dvc repro prepare")


def test_make_repro_without_git_says_what_to_run(made, run):
    shutil.rmtree(made / ".git")
    assert "run 'git init && git add ." in run("make repro", code=2)


def test_make_installs_nothing_through_a_link(checkout, run, tmp_path):
    (tmp_path / "other").mkdir()
    (checkout / ".venv").symlink_to(tmp_path / "other")
    assert f"got a link to {tmp_path / 'other'}; remove the link" in run("make env", code=2)
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("end", ["schema", "d5:"], ids=["empty", "truncated"])
def test_a_lock_file_truncated_by_a_killed_dvc_is_rebuilt(made, run, end):
    (made / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one.txt, outs: [one.txt]}}")
    (made / "dvc.lock").unlink()
    run("make repro")
    text = (made / "dvc.lock").read_text()
    (made / "dvc.lock").write_text(text[: text.index(end)])
    run("dvc repro", code=255)  # DVC itself refuses
    run("make repro")
    assert (made / "dvc.lock").read_text() == text


def test_make_picture_reports_a_missing_browser(made, run):
    assert "no-browser not found on the PATH; install it" in run("make picture CHROMIUM=no-browser", code=2)


def test_make_lists_its_verbs(made, run):
    listed = re.findall(r"^  make ([a-z-]+)", run("make"), re.MULTILINE)
    assert {"repro", "test", "test-all", "check", "bench", "picture", "pins"} <= set(listed)


@pytest.mark.parametrize(
    "stage", ["explain", *(pytest.param(name, marks=pytest.mark.slow) for name in ("export", "evaluate"))]
)
def test_a_stage_is_deleted_by_deleting_five_things_of_its_name(stage, checkout, python_env):
    source = checkout / "src/leyden/stages" / stage
    shutil.rmtree(source) if source.is_dir() else source.with_suffix(".py").unlink()
    (checkout / f"configs/{stage}.yaml").unlink()
    (checkout / f"tests/stages/test_{stage}.py").unlink()
    pipeline = yaml.safe_load((checkout / "dvc.yaml").read_text())
    del pipeline["stages"][stage]
    pipeline["stages"]["report"]["deps"] = [
        dep for dep in pipeline["stages"]["report"]["deps"] if not dep.startswith(f"artifacts/{stage}")
    ]
    pipeline["plots"] = [plot for plot in pipeline["plots"] if f"artifacts/{stage}/" not in str(plot)]
    (checkout / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    project = (checkout / "pyproject.toml").read_text()
    (checkout / "pyproject.toml").write_text(re.sub(rf"^{stage} = .*\n", "", project, flags=re.MULTILINE))

    env = {**python_env, "PYTHONPATH": str(checkout / "src")}
    tests = "tests/test_cli.py tests/test_layers.py tests/test_configs.py tests/stages/test_predict.py"
    pytest_command = f"python -m pytest -q -n 0 -p no:cacheprovider -k 'not overlay and not completion' {tests}"
    command = f"{pytest_command} && dvc dag && leyden --help"
    done = subprocess.run(command, shell=True, cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"  {stage} " not in done.stdout
    assert "  prepare " in done.stdout


def test_pins_hold_hashes_and_no_address():
    pins = (REPO / "requirements.txt").read_text()
    packages = re.findall(r"^[a-z0-9.-]+==\S+", pins, re.MULTILINE)
    assert len(packages) > 100
    assert pins.count("--hash=sha256:") > len(packages)
    assert "://" not in pins
    assert "index" not in pins
    compromised = {"lightning==2.6.2", "lightning==2.6.3"}
    assert not compromised & set(packages)
    assert any(package.startswith("lightning==2.6.") for package in packages)
