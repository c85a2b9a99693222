import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.stages.sample import sample


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes the sample of a kind, once, and returns its folder."""

    @functools.cache
    def write(kind: str) -> Path:
        out = tmp_path_factory.mktemp("sample") / kind
        sample(out, kind)  # type: ignore[arg-type]
        return out

    return write
