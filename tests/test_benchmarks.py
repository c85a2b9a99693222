"""The benchmarks' page shows the measured results."""

import json

from tests.conftest import REPO


def test_the_page_is_written_from_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "benchmarks"))
    import run

    rows = json.loads((REPO / "benchmarks/results.json").read_text())
    page = run.readme(rows)
    assert (REPO / "benchmarks/README.md").read_text() == page, "run `python benchmarks/run.py readme`"
    assert all(f"| {row['name']} |" in page for row in rows)
