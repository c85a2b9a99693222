"""Predicted masks are written as class indices, and the worst beside the true ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.data.packed import Split
from leyden.outputs.regression import RegressionReader
from leyden.stages.evaluate import mask_pictures
from leyden.stages.evaluate.example_tables import tabulate_examples
from leyden.stages.evaluate.mask_pictures import draw_masks
from leyden.stages.evaluate.scored_split import ScoredSplit


class MaskReader(RegressionReader):
    """A reader of masks of two classes, of which only the names and colours matter here."""

    is_dense = True
    predicts_numbers = False
    palette = ((0, 0, 0), (255, 0, 0))

    def target_rows(self, targets: np.ndarray) -> list[dict[str, str]]:
        return [{"true_fraction": f"{mask.mean():.6g}"} for mask in targets]


def test_masks_and_overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = np.full((3, 4, 6, 1), 100, np.uint8)
    true, predicted = np.zeros((3, 4, 6), np.uint8), np.zeros((3, 4, 6), np.int64)
    predicted[1, :, :2], predicted[2] = 1, 1
    monkeypatch.setattr(mask_pictures, "read_split", lambda data, split: Split(images, true))
    reader, errors = MaskReader(["road", "car"]), np.array([0.0, 0.3, 1])
    test = ScoredSplit(["a.png", "b.png", "c.png"], true, [{"road": ""}] * 3, errors, [], predicted)
    for name, write in draw_masks(reader, test, tmp_path).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "pictures/masks/000001.png")), predicted[1])
    assert sorted(path.name for path in (tmp_path / "pictures/overlays").iterdir()) == [
        "00_000002.png",
        "01_000001.png",
    ]
    panels = np.asarray(Image.open(tmp_path / "pictures/overlays/00_000002.png"))
    assert panels.shape == (4, 18, 3)
    assert panels[0, 0].tolist() == [100, 100, 100]
    assert panels[0, 6].tolist() == [50, 50, 50]
    assert panels[0, 12].tolist() == [178, 50, 50]
    rows = list(tabulate_examples(reader, test, 3)["predictions.csv"].rows)
    assert [row["mask"] for row in rows] == [f"pictures/masks/00000{number}.png" for number in range(3)]
