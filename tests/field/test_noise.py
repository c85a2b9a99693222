"""What the verbs write to a pipe: each line says whose it is, and none is about the inner workings of a library."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPO

# fit and its scores per epoch; the rest begins with the verb, or with the library that has something to say
ALLOWED = re.compile(r"(fit|epoch|lightning|tune|doctor|prepare|evaluate|export|explain|report|predict)\b")
RUN = "import sys; from leyden.cli import main; sys.exit(max(main(args.split()) for args in sys.argv[1:]))"


def stderr_of(env: dict[str, str], *commands: str) -> str:
    """Run verbs in a new process; return what they write to stderr."""
    env = {**env, "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, "-c", RUN, *commands], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def unexpected_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not ALLOWED.match(line)]


def test_training_and_scoring(workspace, python_env):
    text = stderr_of(python_env, "fit --trainer.max_epochs=1", "tune", "validate", "doctor")
    assert not unexpected_lines(text)
    for inner in ("TPU", "weights_only", "lr_find", "train_dataloader", "Memory block"):
        assert inner not in text


@pytest.mark.slow
def test_the_stages_after_a_training(workspace, python_env):
    commands = (
        "fit --trainer.max_epochs=1",
        "evaluate --num_resamples=100",
        "export",
        "explain --num_evidence=4 --num_shown=2",
        "report",
        *(
            f"predict artifacts/{model} artifacts/prepare/contact --out=rows.csv"
            for model in ("train/model.ckpt", "export/model.pte", "export/model.aoti.pt2")
        ),
    )
    assert not unexpected_lines(stderr_of(python_env, *commands))


def test_a_home_folder_that_is_not_writable(python_env):
    """Without one, matplotlib keeps its cache in a temporary folder."""
    code = "from leyden.cli import main; main(['--version']); import matplotlib; matplotlib.get_configdir()"
    env = {**python_env, "MPLCONFIGDIR": "/proc/nowhere", "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stderr == ""
