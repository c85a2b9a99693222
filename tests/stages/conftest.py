from pathlib import Path

import pytest

from tests.stages.report.fake_artifacts import LABELS, Artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path, LABELS)
