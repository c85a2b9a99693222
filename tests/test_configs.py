"""Configs never rot: every YAML is parsed by the code that reads it, and a training config trains one batch."""

import dataclasses
import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from leyden.cli import VERBS, main
from tests.tasks.data import write_data

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGE_CONFIGS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "train")
OVERLAYS = sorted(path.relative_to(CONFIGS.parent).as_posix() for path in CONFIGS.glob("*/*.yaml"))
# These start several processes: tests/training/test_distributed.py and test_sharded.py train with them.
SEVERAL_PROCESSES = {f"configs/trainer/{name}.yaml" for name in ("ddp", "fsdp", "tensor_parallel")}

# Overlays that need an earlier model, and the argument that names it.
EARLIER_MODEL = {
    "distill": "teacher",
    "finetune": "start_from",
    "prune": "start_from",
    "qat": "start_from",
    "sparse": "start_from",
}


@pytest.mark.parametrize("stage", STAGE_CONFIGS)
def test_stage_config_is_accepted_and_printed(stage, capsys):
    assert stage in VERBS
    with pytest.raises(SystemExit) as done:
        main([stage, "-c", str(CONFIGS / f"{stage}.yaml"), "--print_config"])
    assert not done.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    written = yaml.safe_load((CONFIGS / f"{stage}.yaml").read_text())
    assert {key: printed[key] for key in written} == written


@pytest.mark.parametrize("stage", STAGE_CONFIGS)
def test_stage_config_and_signature_agree(stage):
    """Values are tuned in the config file: it contains the defaults of the signature."""
    signature = inspect.signature(getattr(importlib.import_module(VERBS[stage][0]), stage))
    for key, value in yaml.safe_load((CONFIGS / f"{stage}.yaml").read_text()).items():
        default = signature.parameters[key].default
        assert value == (dataclasses.asdict(default) if dataclasses.is_dataclass(default) else default), key


def data_for(overlay: str, folder: Path) -> list[str]:
    """Prepare what an overlay needs besides the sample's packed arrays; return the arguments that name it."""
    name = Path(overlay).stem
    if name in EARLIER_MODEL:
        shutil.copy("artifacts/train/model.ckpt", folder / "earlier.ckpt")
        return [f"--model.{EARLIER_MODEL[name]}.path={folder}/earlier.ckpt"]
    if name == "pipeline":
        return ["--trainer.strategy.init_args.devices=[cpu,cpu]"]
    if name == "compile":
        # Generating machine code takes long: tests/training/test_precision.py does it.
        return ["--model.init_args.execution.compile=aot_eager"]
    if name == "torchvision_segmentation":
        write_data(folder / "data", "segmentation")
        assert main(["prepare", f"--data={folder}/data", f"--out={folder}/prepare"]) == 0
        return [f"--data.init_args.folder={folder}/prepare"]
    if name != "streaming":
        return []
    pytest.importorskip("litdata", reason="litdata is in the optional group 'streaming'")
    assert main(["prepare", f"--out={folder}/prepare", f"--shards={folder}/shards"]) == 0
    return [f"--data.init_args.folder={folder}/prepare"]


LOGGERS = {
    "configs/trainer/tensorboard.yaml": "tensorboard",
    **{f"configs/trainer/{name}.yaml": name for name in ("wandb", "mlflow", "dvclive")},
}


@pytest.mark.parametrize("overlay", [None, *(path for path in OVERLAYS if path not in SEVERAL_PROCESSES)])
def test_train_config_runs_one_batch_under_each_overlay(
    overlay, trained, sequences_prepared, tmp_path, monkeypatch, capsys
):
    if overlay in LOGGERS:
        pytest.importorskip(LOGGERS[overlay], reason="an optional logger")
    is_sequences = overlay and "SequenceData" in (CONFIGS.parent / overlay).read_text()
    monkeypatch.chdir(sequences_prepared if is_sequences else trained)
    args = ["-c", overlay, *data_for(overlay, tmp_path)] if overlay else []
    args = ["fit", "-c", "configs/train.yaml", *args, "--trainer.fast_dev_run=1", "--trainer.accelerator=cpu"]
    if overlay and "streaming" in overlay:
        # In a process of its own: litdata crashed at the end of a training after exported files had run in the process.
        subprocess.run([sys.executable, "-m", "leyden", *args], check=True, timeout=300)
        return
    assert main(args) == 0, capsys.readouterr().err


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_is_short_and_opens_with_a_comment(overlay):
    lines = (CONFIGS.parent / overlay).read_text().splitlines()
    assert lines[0].startswith("# ")
    assert sum(not line.startswith("#") for line in lines) <= 15
