import contextlib
from pathlib import Path

import pytest

from leyden.cli import main
from tests.conftest import REPO
from tests.stages.report.fake_artifacts import LABELS, Artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path, LABELS)


@pytest.fixture(scope="session")
def regression_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like a checkout after `leyden fit`: a small network of the angles of turned digits."""
    folder = tmp_path_factory.mktemp("regression")
    (folder / "configs").symlink_to(REPO / "configs")
    small = ["--trainer.max_epochs=4", "--network.init_args.width=8", "--trainer.precision=32-true"]
    with contextlib.chdir(folder):
        for args in (["sample", "--kind=regression"], ["prepare"], ["fit", *small]):
            assert main(args) == 0
    return folder


@pytest.fixture
def in_regression(regression_trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to the folder of turned digits, which all tests share: write elsewhere."""
    monkeypatch.chdir(regression_trained)
    return regression_trained
