"""The section of explanations: verdicts, refused methods, influential training examples and channels."""

import json
import re

import numpy as np
from PIL import Image

from leyden.files import write_json
from tests.stages.report.fake_artifacts import Artifacts, Elements, decode_png, write_rows
from tests.stages.report.fake_measured import make_regression


def test_an_explanation_no_better_than_chance_is_reported(artifacts: Artifacts) -> None:
    metrics = json.loads((artifacts.root / "explain/metrics.json").read_text())["saliency"]
    write_json(artifacts.root / "explain/metrics.json", {"saliency": metrics})
    page, card = artifacts.report()
    evidence = "(deletion AUC 0.600, against 0.500; lower is better)"
    assert f"he only explanation method, saliency, does not clearly beat a random map {evidence}" in page
    assert "Explanation methods that are not clearly better than a random map: saliency" in card


def test_optional_results_are_shown(artifacts: Artifacts) -> None:
    """Metrics that only some methods have, the stage's own verdicts, refused methods and the table of concepts."""
    folder = artifacts.root / "explain"
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["saliency"] |= {"infidelity": 0.0625, "gain": 0.25, "gain_low": 0.125, "gain_high": 0.5}
    write_json(folder / "metrics.json", metrics)
    rows = [
        ["saliency", "trust here", "beats chance"],
        ["integrated_gradients", "not about the model", "too noisy"],
        ["lrp", "refused", "no rule for GELU"],
        ["guided_backprop", "refused", "no rule for GELU"],
    ]
    write_rows(folder / "summary.csv", ["method", "verdict", "reason"], rows)
    concepts = [["stripes", "bee", 0.0123456, "for"]]
    write_rows(folder / "concepts.csv", ["concept", "label", "p_value", "verdict"], concepts)
    page, _ = artifacts.report()
    text = Elements(page).text
    columns = "Gain Infidelity Images Time per image"
    row = "saliency trust here beats chance 0.600 0.500 0.750 0.375 0.125 0.250 0.125 to 0.500 0.062 12 2 ms"
    assert f"{columns} {row}" in text
    assert "integrated gradients not about the model too noisy 0.250 0.500 0.750 0.375 0.125 \u2013 \u2013 12" in text
    assert "Not run on this model: lrp and guided backprop (no rule for GELU)." in text
    assert "concept label p value verdict stripes bee 0.0123 for" in text
    assert "Map of saliency for ant/0.png" in page
    assert "Map of integrated gradients for ant/0.png" not in page


def test_influential_training_examples_are_shown_with_their_images(artifacts: Artifacts) -> None:
    example_columns = ["file", "path", "label", "prediction"]
    influence_columns = ["effect", "rank", "influence", "training_row", "training_path", "training_label"]
    example = ["00.png", "ant/0.png", "ant", "bee"]
    rows = [
        [*example, "helpful", 1, 2.5, 1, "train ant/1.png", "ant"],
        [*example, "harmful", 1, -1.5, 7, "train bee/7.png", "bee"],
    ]
    write_rows(artifacts.root / "explain/influence.csv", example_columns + influence_columns, rows)
    page, _ = artifacts.report()
    assert "image helpful: ant harmful: bee" in Elements(page).text
    images = np.load(artifacts.root / "prepare/train.images.npy")
    for row, path in ((1, "train ant/1.png"), (7, "train bee/7.png")):
        uri = re.search(rf'src="([^"]+)"[^>]*alt="Training image {path}"', page)
        assert uri
        assert np.array_equal(decode_png(uri[1]), images[row])


def test_the_first_channel_of_each_class_is_shown(artifacts: Artifacts) -> None:
    folder = artifacts.root / "explain"
    Image.new("RGB", (30, 20), "teal").save(folder / "channel.png")
    columns = ["label", "images", "layer", "rank", "channel", "conductance", "share", "file"]
    rows = [["ant", 3, "blocks", 1, 104, 0.25, 0.0625, "channel.png"], ["ant", 3, "blocks", 2, 7, 0.125, 0.03, ""]]
    write_rows(folder / "channels.csv", columns, rows)
    text = Elements(artifacts.report()[0]).text
    assert "ant channel 104: 6.2%" in text
    assert "channel 7" not in text
    assert "contributes most to its score" in text


def test_the_first_channel_of_a_target_contributes_to_a_number(artifacts: Artifacts) -> None:
    make_regression(artifacts)
    Image.new("RGB", (30, 20), "teal").save(artifacts.root / "explain/channel.png")
    columns = ["label", "images", "layer", "rank", "channel", "conductance", "share", "file"]
    write_rows(artifacts.root / "explain/channels.csv", columns, [["x", 3, "blocks", 1, 9, 0.25, 0.5, "channel.png"]])
    text = Elements(artifacts.report()[0]).text
    assert "contributes most to the predicted number, and" in text


def test_the_maps_of_each_explained_label_are_shown_under_its_example(artifacts: Artifacts) -> None:
    explain = artifacts.root / "explain"
    columns = ["path", "label", "prediction", "confidence", "explained", "chosen", "file"]
    path = artifacts.paths[0]
    rows = [[path, "ant", "bee", "", label, "wrong", f"{number:02d}.png"] for number, label in enumerate(("x", "<y>"))]
    write_rows(explain / "examples.csv", columns, rows)
    for name in ("", "-saliency", "-integrated_gradients"):
        (explain / f"01{name}.png").write_bytes((explain / f"00{name}.png").read_bytes())
    page = artifacts.report()[0]
    text, maps = Elements(page).text, [name or "" for name in Elements(page).attributes("img", "alt")]
    assert "class x image saliency integrated gradients class <y> saliency integrated gradients" in text
    assert f"Map of saliency of <y> for test image {path}" in maps
