"""Numbers that could tell targets without the content of a file."""

from pathlib import Path

import numpy as np
from PIL import Image

from leyden.cli import main
from leyden.files import read_json
from leyden.files.tables import write_table


def test_a_target_that_a_file_name_or_a_size_tells_is_a_finding_of_the_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    pixels = np.random.default_rng(0)
    for index in range(60):
        noise = pixels.integers(0, 256, (8 + index, 40, 1), np.uint8)
        Image.fromarray(noise[..., 0]).save(f"data/image_{(7 * index) % 60:02d}.png")
    rows = [{"path": f"image_{(7 * index) % 60:02d}.png", "target": 2.5 * index} for index in range(60)]
    write_table(Path("data/manifest.csv"), rows, ["path", "target"])
    assert main(["prepare"]) == 0
    issue = "the image's height almost tells the target target (rank correlation 1.00)"
    assert issue in capsys.readouterr().err
    (found,) = read_json(Path("artifacts/prepare/report.json"), "prepare")["issues"]
    assert found.startswith(issue)
    assert main(["report"]) == 0
    assert "The image&#39;s height almost tells the target" in Path("artifacts/report/data.html").read_text()
