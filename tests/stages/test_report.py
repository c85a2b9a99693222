"""The page of the model and the model card; the tests of the other pages are in report/."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from leyden.errors import UserError
from leyden.files import write_json
from leyden.stages.report.templates import page_script
from tests.stages.report.fake_artifacts import HOSTILE, LABELS, METHOD_METRICS, Artifacts, Elements, decode_png


def test_page_begins_with_the_verdict_and_the_failed_checks(artifacts: Artifacts) -> None:
    artifacts.change_json("evaluate/metrics.json", accuracy_low=0.252)
    text = Elements(artifacts.report()[0]).text
    parts = (
        "Not ready to ship: 1 check failed.",
        "Failed 83.3% of 12 test images classified correctly 95% interval 25.2% to 95.3%; not clearly better than "
        "always predicting the most frequent label (33.3%)",
        "Warning The data should be reviewed The data is ready to train on;",
        "Passed 1 exported file checked The exported file (onnx) agrees with the checkpoint on every image. "
        "The fastest, onnx, is 8.0\u00d7 as fast",
        "Data report",
    )
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)


def test_without_exports_it_is_not_known_whether_to_ship(artifacts: Artifacts) -> None:
    shutil.rmtree(artifacts.root / "export")
    verdict = "Not yet known whether the model is ready to ship: there is no exported file to ship."
    assert verdict in Elements(artifacts.report()[0]).text


@pytest.mark.parametrize(
    "expected",
    [
        "36 images in 3 classes from data : 12 train, 12 val, 12 test. "
        "Each is 6 \u00d7 5 pixels (height \u00d7 width), grey",
        "The data is ready to train on; 2 findings to review. "
        "Review All 3 classes have fewer than 10 training images Review 25 files rejected (41.0%)",
        "3 epochs in 12 s; the weights of epoch 2 were kept, with a validation accuracy of 75.0%. Epochs are",
        "AUROC",
        "0.975",
        "onnx fp32 model.onnx checked 2.00 MB 2.0e-06 100.0% 80.0% 0.5 ms 8.0\u00d7 4 ms 5.0\u00d7",
        "saliency 0.600 0.500 0.750 0.375 0.125 12 2 ms",
        "seed_everything: 0",
        "Data hash abc",
    ],
)
def test_sections_show_the_metrics(artifacts: Artifacts, expected: str) -> None:
    assert expected in Elements(artifacts.report()[0]).text


def test_charts_have_text_alternatives(artifacts: Artifacts) -> None:
    assert Elements(artifacts.report()[0]).attributes("svg", "aria-label") == [
        "loss by epoch: train from 2 to 1, val from 1 to 0.5",
        "accuracy by epoch: val from 0.5 to 0.75",
        "Reliability diagram: confidence 0.65, accuracy 0.50, 2 images; confidence 0.95, accuracy 1.00, 10 images",
    ]


def test_most_confident_errors_are_shown_with_their_own_images(artifacts: Artifacts) -> None:
    page, _ = artifacts.report(num_errors=1)
    gallery = re.search(r'<ul class="gallery">(.*?)</ul>', page, re.DOTALL)
    assert gallery
    elements = Elements(gallery[1])
    assert elements.text == "ant predicted as bee 60.1% confidence ant/1.png"
    pixels = decode_png(elements.attributes("img", "src")[0])
    assert np.array_equal(pixels, np.load(artifacts.root / "prepare/test.images.npy")[1])


def test_an_error_has_the_map_of_the_best_trusted_method(artifacts: Artifacts) -> None:
    page, _ = artifacts.report()
    shown = Elements(page[: page.index('id="weaknesses"')]).attributes("img", "alt")
    assert shown == ["Test image ant/1.png", "Test image ant/0.png", "Map of integrated gradients for ant/0.png"]


def test_an_error_has_no_map_of_an_untrusted_method(artifacts: Artifacts) -> None:
    metrics = METHOD_METRICS | {"randomisation_similarity": 0.9, "seconds_per_image": 0.002, "examples": 12}
    write_json(artifacts.root / "explain/metrics.json", {"integrated_gradients": metrics})
    page, _ = artifacts.report()
    assert "Map of integrated gradients for ant/0.png" not in page
    assert "Warning No explanation can be trusted" in Elements(page).text


def test_confusion_matrix_counts_actual_by_predicted(artifacts: Artifacts) -> None:
    matrix = re.search(r'<table class="matrix">.*?</table>', artifacts.report()[0], re.DOTALL)
    assert matrix
    assert Elements(matrix[0]).text.endswith("ant bee cat ant 2 2 0 bee 0 4 0 cat 0 0 4")


def test_many_classes_are_shown_as_confused_pairs_without_a_matrix(tmp_path: Path) -> None:
    page, _ = Artifacts(tmp_path, [f"class {n:04d}" for n in range(1000)], shape=(4, 4, 3), num_errors=100).report()
    assert 'class="matrix"' not in page
    assert "The 20 most often confused of 25 pairs of classes" in " ".join(page.split())
    assert len(page) < 2_000_000


def test_photographs_stay_small(tmp_path: Path) -> None:
    page, _ = Artifacts(tmp_path, LABELS, shape=(300, 200, 3)).report()
    assert "data:image/jpeg" in page
    assert len(page) < 1_000_000


def test_without_errors_the_least_confident_predictions_are_shown(tmp_path: Path) -> None:
    text = Elements(Artifacts(tmp_path, LABELS, num_errors=0).report(num_errors=2)[0]).text
    assert "made no errors on the test images. The 2 least confident predictions: Hover over, tap or focus" in text
    assert "map ant 60.0% confidence ant/0.png ant 60.1% confidence ant/1.png" in text


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    page, card = Artifacts(tmp_path, HOSTILE).report(title=HOSTILE[0], data=Path("<b>data</b>"))
    elements = Elements(page)
    assert elements.script == page_script()
    assert "<b>data" not in page
    assert all(label in elements.text for label in HOSTILE)
    header, body = card.removeprefix("---\n").split("\n---\n")
    assert yaml.safe_load(header)["model-index"][0]["name"] == HOSTILE[0]
    assert "<script>" not in body
    assert r"it's \| a \*label\*" in body


def test_stages_that_were_not_run_are_named(artifacts: Artifacts) -> None:
    for name in ("evaluate", "export", "explain"):
        shutil.rmtree(artifacts.root / name)
    page, card = artifacts.report()
    text = Elements(page).text
    for what, verb in (("evaluated", "evaluate"), ("exported", "export"), ("explained", "explain")):
        assert f"This model was not {what}: run leyden {verb} to add this section." in text
        assert f"This model was not {what}: run `leyden {verb}` to add this section." in card
    missing = "the model was not evaluated and there is no exported file to ship."
    assert f"Not yet known whether the model is ready to ship: {missing}" in text
    assert "The model was not evaluated, exported or explained." in card


@pytest.mark.parametrize(
    ("missing", "verb"), [("prepare", "prepare"), ("train/curves.csv", "fit"), ("evaluate/predictions.csv", "evaluate")]
)
def test_missing_input_names_the_verb(artifacts: Artifacts, missing: str, verb: str) -> None:
    (artifacts.root / missing).rename(artifacts.root / "moved away")
    with pytest.raises(UserError, match=f"run `leyden {verb}` first"):
        artifacts.report()
    assert not (artifacts.root / "report").exists()


def test_metrics_of_an_earlier_run_alone_are_no_run(artifacts: Artifacts) -> None:
    """Git keeps metrics.json: in a fresh clone the data is reported before anything is trained."""
    for stage in ("train", "evaluate", "export", "explain"):
        for path in (artifacts.root / stage).iterdir():
            if path.name != "metrics.json":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (artifacts.root / stage / ".gitignore").write_text("/model.ckpt\n")
    page, card = artifacts.report()
    text = Elements(page).text
    assert text.count("No model has been trained yet.") == 1
    assert "to add this section" not in text
    assert "This model was not exported: run `leyden export` to add this section." in card


def test_num_errors_must_be_positive(artifacts: Artifacts) -> None:
    with pytest.raises(UserError, match=r"report.num_errors must lie in \[1, inf\); got 0"):
        artifacts.report(num_errors=0)


def test_predictions_of_other_images_are_refused(artifacts: Artifacts) -> None:
    artifacts.paths.reverse()
    artifacts.write_evaluate(artifacts.root / "evaluate")
    with pytest.raises(UserError, match="run `leyden evaluate` again"):
        artifacts.report()


def test_a_failed_export_is_reported(artifacts: Artifacts) -> None:
    row = {"format": "pt2", "precision": "fp32", "file": "", "status": "failed", "reason": "no compiler"}
    write_json(artifacts.root / "export/report.json", [row])
    page, card = artifacts.report()
    assert "1 of 1 exported file did not pass the check against the checkpoint: pt2 (no compiler)" in page
    assert "Not every exported file passed the check" in card


def test_a_skipped_format_is_reported_with_its_reason(artifacts: Artifacts) -> None:
    rows = json.loads((artifacts.root / "export/report.json").read_text())
    rows.append({"format": "aoti", "precision": "int8", "file": "", "status": "skipped", "reason": "no compiler"})
    write_json(artifacts.root / "export/report.json", rows)
    page, card = artifacts.report()
    summary = "The exported file (onnx) agrees with the checkpoint on every image; skipped: aoti int8 (no compiler)."
    assert summary in Elements(page).text
    assert "skipped: aoti int8 (no compiler)" in card
    assert "Not every exported file" not in card


def test_front_matter_of_the_card_has_what_model_hubs_read(artifacts: Artifacts) -> None:
    card = artifacts.report(license="Apache-2.0")[1]
    header = yaml.safe_load(card.removeprefix("---\n").split("\n---\n")[0])
    assert header["license"] == "apache-2.0"
    assert header["pipeline_tag"] == "image-classification"
    assert header["metrics"] == ["accuracy", "roc_auc"]
    result = header["model-index"][0]["results"][0]
    assert result["dataset"] == {"name": "data", "type": "data", "split": "test", "revision": "abc"}
    assert result["metrics"][1] == {"type": "roc_auc", "name": "auroc", "value": 0.975}
    shutil.rmtree(artifacts.root / "evaluate")
    assert "model-index" not in artifacts.report()[1]


def test_card_has_the_sections_of_a_model_card(artifacts: Artifacts) -> None:
    assert re.findall("^## (.+)$", artifacts.report()[1], re.MULTILINE) == [
        "Model Details",
        "Intended Use",
        "Factors",
        "Metrics",
        "Evaluation Data",
        "Training Data",
        "Quantitative Analyses",
        "Ethical Considerations",
        "Caveats and Recommendations",
    ]


def test_card_and_exported_files_have_the_same_license() -> None:
    configs = [
        yaml.safe_load((Path(__file__).parents[2] / f"configs/{name}.yaml").read_text())
        for name in ("report", "export")
    ]
    assert configs[0]["license"] == configs[1]["license"]


def test_data_that_changed_since_the_training_is_reported(artifacts: Artifacts) -> None:
    provenance = {"code_version": "1.2+g0", "data_hash": "old", "versions": {"torch": "9.9"}}
    write_json(artifacts.root / "train/provenance.json", provenance)
    page, card = artifacts.report()
    assert "The data has changed since the training" in page
    assert "torch 9.9" in page
    assert "Code version: 1.2+g0" in card


def test_same_input_gives_the_same_bytes(artifacts: Artifacts) -> None:
    assert artifacts.report() == artifacts.report()
    assert artifacts.data_page() == artifacts.data_page()


@pytest.mark.parametrize("name", ["index.html", "data.html"])
def test_nothing_is_loaded_from_elsewhere(artifacts: Artifacts, name: str) -> None:
    artifacts.report()
    page = artifacts.read(name)
    for tag, attrs in Elements(page).tags:
        allowed = "#" if tag == "use" else ("#", "data:")
        for source in ("src", "href", "xlink:href", "srcset", "poster"):
            assert tag == "a" or (attrs.get(source) or "#").startswith(allowed), (tag, attrs)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_ids_are_unique_and_link_targets_exist(artifacts: Artifacts) -> None:
    artifacts.report()
    tags = {name: Elements(artifacts.read(name)).tags for name in ("index.html", "data.html")}
    ids = {name: [attrs["id"] for _, attrs in found if "id" in attrs] for name, found in tags.items()}
    assert all(len(set(found)) == len(found) for found in ids.values())
    links = [
        (name, attrs["href"].partition("#"))
        for name, found in tags.items()
        for tag, attrs in found
        if tag == "a" and attrs["href"]
    ]
    assert ("index.html", ("data.html", "#", "rejected")) in links
    assert ("data.html", ("index.html", "", "")) in links
    assert all(not anchor or anchor in ids[page or name] for name, (page, _, anchor) in links)


def test_the_stage_needs_no_torch() -> None:
    code = "import sys, leyden.stages.report; print([m for m in ('torch', 'lightning', 'captum') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train/metrics.json", "null"),
        ("train/metrics.json", '{"epoch": "first"}'),
        ("train/provenance.json", "[]"),
        ("train/provenance.json", '{"kept_epoch": 3}'),
        ("train/config.yaml", "network: ["),
        ("train/config.yaml", "- network"),
        ("train/curves.csv", "a,b\n1,2\n"),
        ("train/curves.csv", "epoch,step\nfirst,1\n"),
        ("evaluate/metrics.json", "{}"),
        ("evaluate/predictions.csv", ""),
        ("evaluate/predictions.csv", "path,label\n"),
        ("evaluate/tables/per_class.csv", "a,b\n1,2\n"),
        ("evaluate/tables/calibration.csv", "confidence\n"),
        ("export/report.json", "[{}]"),
        ("export/report.json", "3"),
        ("explain/metrics.json", "3"),
        ("explain/summary.csv", "a,b\n1,2\n"),
        ("explain/examples.csv", "a,b\n1,2\n"),
    ],
)
def test_results_with_other_content_are_one_error_line_and_no_page(
    artifacts: Artifacts, name: str, content: str
) -> None:
    artifacts.report()
    before = artifacts.read("index.html")
    (artifacts.root / name).write_text(content)
    with pytest.raises(UserError, match=rf"expected .* in .*{Path(name).parts[0]}.*; run .* again"):
        artifacts.report()
    assert artifacts.read("index.html") == before
