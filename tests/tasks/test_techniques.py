"""Each technique with each task trains a batch, or is refused in one line: the table in docs/techniques.md."""

import re
import subprocess
import sys

import pytest

from leyden.cli import main
from leyden.tasks import TASKS
from tests.conftest import REPO
from tests.tasks.conftest import SMALL

EARLIER = "earlier.ckpt"
TECHNIQUES = {
    "bfloat16": ["-c", "configs/trainer/bf16.yaml"],
    "float16": ["-c", "configs/trainer/fp16.yaml"],
    "compilation": ["--model.execution.compile=eager"],
    "gradient accumulation": ["-c", "configs/experiment/accumulate.yaml"],
    "gradient clipping": ["-c", "configs/experiment/clip.yaml"],
    "averaged weights (EMA)": ["-c", "configs/experiment/ema.yaml"],
    "averaged weights (SWA)": ["-c", "configs/experiment/swa.yaml"],
    "one-cycle schedule": ["-c", "configs/experiment/one_cycle.yaml"],
    "Muon": ["-c", "configs/experiment/muon.yaml"],
    "activation checkpointing": ["-c", "configs/experiment/checkpointing.yaml", "--network.init_args.depths=[1,1]"],
    "fine-tuning": ["-c", "configs/experiment/finetune.yaml", f"--model.start_from.path={EARLIER}"],
    "distillation": ["-c", "configs/experiment/distill.yaml", f"--model.teacher.path={EARLIER}"],
    "channel pruning": ["-c", "configs/experiment/prune.yaml", f"--model.start_from.path={EARLIER}"],
    "sparsity": ["-c", "configs/experiment/sparse.yaml", f"--model.start_from.path={EARLIER}"],
    "fake quantisation": ["-c", "configs/experiment/qat.yaml", f"--model.start_from.path={EARLIER}"],
    "adversarial training": ["-c", "configs/experiment/adversarial.yaml"],
    "mixup": ["--model.mixing.mixup_alpha=0.2"],
    "CutMix": ["--model.mixing.cutmix_alpha=1"],
    "class weights": ["--model.class_weights=auto"],
    "label smoothing": ["--model.label_smoothing=0.1"],
    "balanced sampling": ["--data.sampler=balanced"],
}
UNET = '{"class_path": "leyden.models.UNet", "init_args": {"width": 16, "depth": 3}}'
# Where the network of the technique's config does not suit the task.
TECHNIQUES_OF_TASKS = {
    ("activation checkpointing", "segmentation"): [
        "--model.execution.checkpoint_modules=[leyden.models.unet.UpBlock]",
    ],
    ("channel pruning", "segmentation"): [*TECHNIQUES["channel pruning"], f"--network.init_args.network={UNET}"],
}
# These start two processes.
DISTRIBUTED = {"DDP": ["-c", "configs/trainer/ddp.yaml"], "FSDP2": ["-c", "configs/trainer/fsdp.yaml"]}
REFUSED = {
    ("class weights", "regression"): r"expected no model.class_weights for regression; got auto",
    ("label smoothing", "regression"): r"expected no model.label_smoothing for regression; got 0.1",
    ("balanced sampling", "regression"): r"expected data.sampler: uniform for regression",
    ("balanced sampling", "multilabel"): r"expected data.sampler: uniform for multilabel",
    ("balanced sampling", "segmentation"): r"expected data.sampler: uniform for segmentation",
    ("mixup", "segmentation"): r"expected no mixing for segmentation",
    ("CutMix", "segmentation"): r"expected no mixing for segmentation",
}
FIT = ["fit", "-c", "configs/train.yaml", *SMALL, "--trainer.fast_dev_run=1"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_technique_trains_a_batch_or_is_refused(technique, task, trained_on, monkeypatch, capsys, error_of):
    monkeypatch.chdir(trained_on(task))
    args = [*FIT, *TECHNIQUES_OF_TASKS.get((technique, task), TECHNIQUES[technique])]
    if expected := REFUSED.get((technique, task)):
        assert re.search(expected, error_of(*args))
    else:
        assert main(args) == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("technique", DISTRIBUTED)
def test_a_technique_of_several_processes_trains_a_batch(technique, task, prepared):
    command = [sys.executable, "-m", "leyden", *FIT, *DISTRIBUTED[technique]]
    done = subprocess.run(command, cwd=prepared(task), text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_the_table_in_the_documentation_is_this_one():
    lines = (REPO / "docs/techniques.md").read_text().splitlines()
    expected = [f"| technique | {' | '.join(TASKS)} |", "|---" * (len(TASKS) + 1) + "|"]
    for technique in (*TECHNIQUES, *DISTRIBUTED):
        cells = ("refused" if (technique, task) in REFUSED else "yes" for task in TASKS)
        expected.append(f"| {technique} | {' | '.join(cells)} |")
    assert [line for line in lines if line in expected] == expected
