"""The section of explanations: verdicts, refusals, and the training examples and channels behind an answer."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden.files import write_json
from tests.stages.test_report import LABELS, Artifacts, Elements, write_rows


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path, LABELS)


def test_an_explanation_no_better_than_chance_is_said(artifacts: Artifacts) -> None:
    figures = json.loads((artifacts.root / "explain/metrics.json").read_text())["saliency"]
    write_json(artifacts.root / "explain/metrics.json", {"saliency": figures})
    page, card = artifacts.report()
    assert (
        "saliency was tested and does not beat a random map (deletion AUC 0.600, against 0.500; lower is better)"
        in page
    )
    assert "No better than a random map at finding what matters: saliency" in card


def test_what_explain_also_finds_is_shown(artifacts: Artifacts) -> None:
    """Figures that only some methods have, the stage's own verdicts, methods that it refused, and its further tables."""
    folder = artifacts.root / "explain"
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["saliency"] |= {"infidelity": 0.0625, "gain": 0.25, "gain_low": 0.125, "gain_high": 0.5}
    write_json(folder / "metrics.json", metrics)
    rows = [
        ["saliency", "trust here", "beats chance"],
        ["integrated_gradients", "not about the model", "too noisy"],
        ["lrp", "refused", "no rule for GELU"],
    ]
    write_rows(folder / "summary.csv", ["method", "verdict", "reason"], rows)
    write_rows(
        folder / "concepts.csv", ["concept", "label", "p_value", "verdict"], [["stripes", "bee", 0.0123456, "for"]]
    )
    page, _ = artifacts.report()
    text = Elements(page).text
    assert (
        "Gain Infidelity Images Time for one saliency trust here beats chance 0.600 0.500 0.750 0.375 0.125 0.250 0.125 to 0.500 0.062 12 2 ms"
        in text
    )
    assert "integrated gradients not about the model too noisy 0.250 0.500 0.750 0.375 0.125 \u2013 \u2013 12" in text
    assert "Not run on this model: lrp (no rule for GELU)." in text
    assert "concept label p value verdict stripes bee 0.0123 for" in text
    assert "Map of saliency for ant/0.png" in page and "Map of integrated gradients for ant/0.png" not in page


def test_training_examples_and_channels_are_shown_by_their_pictures(artifacts: Artifacts) -> None:
    folder = artifacts.root / "explain"
    heads = [
        "file",
        "path",
        "label",
        "prediction",
        "effect",
        "rank",
        "influence",
        "training_row",
        "training_path",
        "training_label",
    ]
    taught = [["helpful", 1, 2.5, 1, "train ant/1.png", "ant"], ["harmful", 1, -1.5, 7, "train bee/7.png", "bee"]]
    write_rows(folder / "influence.csv", heads, [["00.png", "ant/0.png", "ant", "bee", *row] for row in taught])
    Image.new("RGB", (30, 20), "teal").save(folder / "channel.png")
    channels = [["ant", 3, "blocks", 1, 104, 0.25, 0.0625, "channel.png"], ["ant", 3, "blocks", 2, 7, 0.125, 0.03, ""]]
    write_rows(
        folder / "channels.csv",
        ["label", "images", "layer", "rank", "channel", "conductance", "share", "file"],
        channels,
    )
    page, _ = artifacts.report()
    elements = Elements(page)
    assert (
        "image helped: ant harmed: bee" in elements.text
        and "ant channel 104: 6.2%" in elements.text
        and "channel 7" not in elements.text
    )
    images = np.load(artifacts.root / "prepare/train.images.npy")
    for row, path in ((1, "train ant/1.png"), (7, "train bee/7.png")):
        uri = re.search(rf'src="data:image/png;base64,([^"]+)"[^>]*alt="Training image {path}"', page)[1]
        assert np.array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(uri)))), images[row, ..., 0])
