"""Small real data, prepared and trained once for all tests."""

import contextlib
import os
import re

# Workers, and the processes that they start, share the cores; torch reads this variable when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from leyden.cli import main

REPO = Path(__file__).resolve().parents[1]
SHAPES = ("cercle", "carré", "big triangle")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restore the environment after each test: with Lightning's LOCAL_RANK, the next distributed training hangs."""
    with mock.patch.dict(os.environ):
        yield


def draw_shape(name: str, width: int, height: int, generator: np.random.Generator) -> Image.Image:
    """Draw one coloured shape on a dark background."""
    background, ink = (tuple(int(v) for v in generator.integers(low, high, 3)) for low, high in ((0, 90), (160, 256)))
    image = Image.new("RGB", (width, height), background)
    left, top = generator.integers(1, width // 4), generator.integers(1, height // 4)
    right, bottom = width - generator.integers(2, width // 4), height - generator.integers(2, height // 4)
    draw = ImageDraw.Draw(image)
    if name == "cercle":
        draw.ellipse((left, top, right, bottom), fill=ink)
    elif name == "carré":
        draw.rectangle((left, top, right, bottom), fill=ink)
    else:
        draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=ink)
    return image


def write_shapes(folder: Path, per_class: int = 30) -> None:
    """Write 3 classes of RGB images, not square, of mixed sizes and formats, with spaces and accents in their names."""
    generator = np.random.default_rng(0)
    suffixes = (".png", ".jpg", ".bmp", ".webp", ".gif", ".tiff", ".JPEG")
    for name in SHAPES:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            width, height = int(generator.integers(28, 40)), int(generator.integers(18, 26))
            image = draw_shape(name, width, height, generator)
            image.save(folder / name / f"{name} nº {number}{suffixes[number % len(suffixes)]}")


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    write_shapes(tmp_path / "shapes")
    return tmp_path / "shapes"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like a checkout after `leyden fit`: a small network, trained for four epochs on the digits."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "configs").symlink_to(REPO / "configs")
    small = ["--trainer.max_epochs=4", "--network.init_args.width=8", "--trainer.precision=32-true"]
    with contextlib.chdir(folder):
        for args in (["sample"], ["prepare"], ["fit", *small]):
            assert main(args) == 0
    return folder


def borrow_prepared(trained: Path, folder: Path) -> Path:
    """Make a folder like a checkout after `leyden prepare`, with a link to the trained folder's prepared digits."""
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    (folder / "artifacts/prepare").symlink_to(trained / "artifacts/prepare")
    (folder / "configs").symlink_to(REPO / "configs")
    return folder


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a new folder with the prepared digits, to train in."""
    monkeypatch.chdir(tmp_path)
    return borrow_prepared(trained, tmp_path)


@pytest.fixture
def in_trained(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to the trained folder, which all tests share: write elsewhere."""
    monkeypatch.chdir(trained)
    yield trained


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a verb, asserts a user error (exit code 2, one line) and returns the line."""

    def run(*args: str) -> str:
        capsys.readouterr()
        assert main(list(args)) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("leyden ")]
        assert len(lines) == 1, lines
        return lines[0]

    return run


@pytest.fixture(scope="session")
def python_env() -> dict[str, str]:
    """Return the environment of child processes: this interpreter comes first on the PATH."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the files that git tracks or would track to a new repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPO, capture_output=True, check=True
    ).stdout
    folder = tmp_path / "a checkout"
    for name in filter(None, listed.decode().split("\0")):
        if (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name)
    subprocess.run(
        "git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm all",
        shell=True,
        cwd=folder,
        check=True,
    )
    return folder


Run = Callable[..., str]


@pytest.fixture
def run(checkout: Path, python_env: dict[str, str]) -> Run:
    """Return a function that runs a command line in the checkout, asserts its exit code and returns its output."""

    def run(command: str, code: int = 0) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=checkout, env=python_env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture
def made(checkout: Path) -> Path:
    """Return a checkout in which `make` finds the environment installed: a link to the one that runs the tests."""
    environment = Path(sys.prefix)
    if not (environment / ".installed").is_file():
        pytest.skip("this environment was not installed by `make`")
    (checkout / ".venv").symlink_to(environment)
    os.utime(environment / ".installed")
    return checkout


def outputs_of(stage: str) -> list[str]:
    """Return the paths of a stage's outputs in dvc.yaml."""
    outputs = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"][stage]["outs"]
    return [next(iter(output)) if isinstance(output, dict) else output for output in outputs]


def export_less(checkout: Path) -> None:
    """Remove the export formats that take longest; the stage's own tests cover them."""
    config = checkout / "configs/export.yaml"
    config.write_text(re.sub(r"  (aoti|torchscript|executorch|openvino|safetensors): .*\n", "", config.read_text()))
    assert list(yaml.safe_load(config.read_text())["formats"]) == ["pt2", "onnx"]


def write_courses(folder: Path) -> None:
    """Write 3 classes of sequences of 2 features and unequal lengths, as .npy and as .csv with and without header."""
    generator = np.random.default_rng(0)
    for name, count in (("down", 80), ("up", 50), ("wave", 20)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            time = np.arange(generator.integers(5, 60))
            course = {"down": -0.1 * time, "up": 0.1 * time, "wave": np.sin(time)}[name]
            values = np.stack([course, generator.normal(size=len(time))], axis=1) + generator.normal(
                0, 0.05, (len(time), 2)
            )
            if number % 3:
                np.save(folder / name / f"{number}.npy", values)
            else:
                np.savetxt(
                    folder / name / f"{number}.csv",
                    values,
                    delimiter=",",
                    header="course,noise" if number % 2 else "",
                    comments="",
                )


@pytest.fixture(scope="session")
def sequences_prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like a checkout after `leyden prepare` with sequences in data/."""
    folder = tmp_path_factory.mktemp("sequences")
    (folder / "configs").symlink_to(REPO / "configs")
    write_courses(folder / "data")
    assert main(["prepare", f"--data={folder}/data", f"--out={folder}/artifacts/prepare"]) == 0
    return folder


@pytest.fixture
def in_sequences(sequences_prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to the folder of prepared sequences."""
    monkeypatch.chdir(sequences_prepared)
    return sequences_prepared
