"""The page of the data: the verdict and the findings, and the sections that they link to."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leyden.stages.prepare import prepare
from leyden.stages.report import report
from leyden.stages.report.templates import page_script
from tests.stages.report.fake_artifacts import (
    DUPLICATE_COLUMNS,
    HOSTILE,
    LABELS,
    Artifacts,
    Elements,
    decode_png,
    write_rows,
)


def turn_into_sequences(artifacts: Artifacts) -> None:
    """Describe the data as `leyden prepare` describes sequences, and remove the packed images."""
    spread = {"min": 7, "median": 120, "max": 999}
    artifacts.change_report(
        input={"features": 2, "mean": [1234.5, -0.25], "std": [10.0, 1e-05]},
        files={"length": spread, "features": {"min": 2, "median": 2, "max": 2}, "modes": {"csv": 12, "npy": 24}},
        stored="float32 as it is",
    )
    for path in (artifacts.root / "prepare").glob("*.images.npy"):
        path.unlink()


def page_of(prepared: Path, folder: Path) -> str:
    """Return data.html of data that was only prepared."""
    missing: dict[str, Any] = dict.fromkeys(("train", "evaluate", "export", "explain"), folder / "missing")
    report(prepare=prepared, **missing, out=folder / "report")
    return (folder / "report/data.html").read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    """Return the text of a section."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found, name
    return Elements(found[0]).text


def test_data_without_findings_is_ready(artifacts: Artifacts) -> None:
    artifacts.change_report(
        counts={"train": dict.fromkeys(LABELS, 50), "val": dict.fromkeys(LABELS, 9), "test": dict.fromkeys(LABELS, 1)}
    )
    write_rows(artifacts.root / "prepare/rejected.csv", ["path", "reason"], [])
    page = artifacts.data_page()
    verdict = "The data is ready to train on: no problems were found."
    assert f"Data {verdict} images 180 from data train 150 83.3%" in Elements(page).text
    assert section(page, "rejected") == "Rejected No file was rejected."
    assert section(page, "duplicates") == "Duplicates There are no duplicate images."
    assert verdict in artifacts.read("index.html")


def test_imbalance_is_found_counted_and_drawn(artifacts: Artifacts) -> None:
    artifacts.change_report(
        counts={
            "train": {"ant": 300, "bee": 6, "cat": 30},
            "val": dict.fromkeys(LABELS, 20),
            "test": {"ant": 80, "bee": 0, "cat": 5},
        }
    )
    page = artifacts.data_page()
    text = Elements(page).text
    imbalance = "The largest class has 15 times as many images as the smallest bee has 26, ant 400: accuracy hides"
    assert f"Review {imbalance}" in text
    assert "Review 1 of 3 classes has fewer than 10 training images Too few to learn a class well: bee (6)." in text
    assert "Review 1 of 3 classes has no test images The accuracy on a class cannot be measured: bee (0)." in text
    assert section(page, "classes").endswith(
        "Class Train Val Test Total ant 300 20 80 400 bee 6 20 0 26 cat 30 20 5 55"
    )
    fractions = [float(fraction) for fraction in re.findall(r"--share: ([\d.]+)", page)]
    assert fractions == [0.75, 0.05, 0.2, 0.015, 0.05, 0.0, 0.075, 0.05, 0.0125]


def test_files_are_described(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS, shape=(6, 5, 3))
    spread = {"min": 0.5, "median": 1.333, "max": 1.5}
    height = {"min": 3, "median": 6, "max": 2400}
    artifacts.change_report(files={"height": height, "aspect_ratio": spread, "modes": {"L": 2, "RGB": 1034}})
    page = artifacts.data_page()
    files = section(page, "files")
    quantities = "height pixels 3 6 2,400 aspect ratio width / height 0.5 1.333 1.5"
    assert f"{quantities} Modes L 2, RGB 1,034 Each packed image 6 \u00d7 5 pixels" in files
    assert "Stored as pixels, 30 of 36 images resized once On disk 1.2 kB packed, 0.0 kB each" in files
    assert files.endswith("Channel Mean Standard deviation red 0.5 0.25 green 0.5 0.25 blue 0.5 0.25")
    assert "Files in 2 modes (2 L and 1,034 RGB)" in page
    assert "Aspect ratios from 0.50 to 1.50" in page


def test_rejected_files_are_counted_by_reason_and_the_first_listed(artifacts: Artifacts) -> None:
    rows = [
        [f"broken {n}.png", f"truncated ({n} bytes)" if n < 15 else "too small: 2x2, a side is below 4"]
        for n in range(25)
    ]
    write_rows(artifacts.root / "prepare/rejected.csv", ["path", "reason"], rows)
    text = section(artifacts.data_page(), "rejected")
    counts = "truncated (15), too small (10)"
    assert f"25 files could not be used: {counts}. The first 20 are listed here; all are in" in text
    assert "broken 19.png too small: 2x2" in text
    assert "broken 20.png" not in text


def test_duplicates_are_counted_and_shown_most_harmful_first_with_their_own_images(artifacts: Artifacts) -> None:
    harmless = [
        ["exact", f"train ant/{n}.png", "train ant/0.png", "ant", "ant", "train", "train"] for n in (1, 2, 3, 3, 3)
    ]
    near = ["near", "bee/4.png", "train cat/8.png", "bee", "cat", "test", "train"]
    conflict = ["exact", "train bee/5.png", "train ant/2.png", "bee", "ant", "train", "train"]
    leak = ["exact", "ant/1.png", "train ant/3.png", "ant", "ant", "test", "train"]
    write_rows(artifacts.root / "prepare/duplicates.csv", DUPLICATE_COLUMNS, [*harmless, near, conflict, leak])
    page = artifacts.data_page()
    text = section(page, "duplicates")
    assert "Exact the same content 7 1 1 Near almost the same to the eye 1 1 1" in text
    assert "7 of 8 pairs, some of each kind, most harmful first. The full list is in" in text
    titles = (
        "Exact duplicates , different splits ant in train",
        "Exact duplicates , different labels ant in train",
        "Near duplicates , different splits , different labels",
        "Exact duplicates ant",
    )
    positions = [text.index(title) for title in titles]
    assert positions == sorted(positions)
    uris = Elements(page).attributes("img", "src")[:2]
    for uri, split, row in zip(uris, ("train", "test"), (3, 1), strict=True):
        assert np.array_equal(decode_png(uri), np.load(artifacts.root / f"prepare/{split}.images.npy")[row])
    for title in (
        "1 pair of exact duplicates in different splits",
        "1 pair of near duplicates with different labels",
        "5 pairs of duplicates within one split, with the same label",
    ):
        assert title in Elements(page).text


def test_blocking_findings_are_on_the_model_s_page_and_card(artifacts: Artifacts) -> None:
    artifacts.write_duplicates(["exact"])
    page, card = artifacts.report()
    verdict = "The data is not ready to train on: 2 problems to fix first, 2 to review."
    assert f"{verdict} See the findings before trusting these results." in Elements(page).text
    assert verdict in card
    advice = "The same example is in two splits, which makes the scores too optimistic: remove one of each pair."
    assert f"- 1 pair of exact duplicates in different splits. {advice}" in card


def test_findings_to_review_do_not_warn_on_the_model_s_page(artifacts: Artifacts) -> None:
    artifacts.write_duplicates(["near"])
    assert "before trusting these results" not in Elements(artifacts.report()[0]).text


def test_groups_in_more_than_one_split_are_listed(artifacts: Artifacts) -> None:
    rows = [
        [f"{n}.png", "ant", split, "", group]
        for n, (split, group) in enumerate([("train", "eve"), ("test", "eve"), ("val", "bob"), ("val", "")])
    ]
    write_rows(artifacts.root / "prepare/manifest.csv", ["path", "label", "split", "sha256", "group"], rows)
    shutil.rmtree(artifacts.root / "evaluate")
    page = artifacts.data_page()
    caption = "Number of images of each group in each split"
    assert section(page, "duplicates").endswith(f"{caption} Group Train Val Test eve 1 0 1")
    assert "Fix first 1 group in more than one split" in Elements(page).text


def test_contact_sheets_are_limited_in_size(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, [f"class {n}" for n in range(130)])
    noise = np.random.default_rng(0).integers(0, 256, (262, 262, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for number in range(130):
        shutil.copy(tmp_path / "noise.png", tmp_path / f"prepare/contact/{number}.png")
    page = artifacts.data_page()
    shown = Elements(page).attributes("img", "alt")
    assert 20 < len(shown) < 130
    assert shown[-1] == f"Contact sheet of class class {len(shown) - 1}"
    others = f"the other sheets are in {tmp_path}/prepare/contact"
    assert f"{len(shown)} of 130 classes are shown; {others}" in section(page, "sheets")
    assert 2_000_000 < len(page.encode()) < 5_000_000


def test_contact_sheets_and_the_card_are_limited_in_classes(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, [f"class {n}" for n in range(130)])
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    for number in range(130):
        shutil.copy(tmp_path / "small.png", tmp_path / f"prepare/contact/{number}.png")
    page = artifacts.data_page()
    assert "100 of 130 classes are shown" in section(page, "sheets")
    card = artifacts.read("model_card.md")
    assert "| class 49 |" in card
    assert "| class 50 |" not in card.split("## Quantitative Analyses")[0]
    assert "The first 50 of 130 classes; data.html lists all." in card


def test_sequences_are_described_as_sequences(artifacts: Artifacts) -> None:
    turn_into_sequences(artifacts)
    artifacts.write_duplicates(["exact"])
    write_rows(artifacts.root / "prepare/rejected.csv", ["path", "reason"], [])
    page, card = artifacts.report(against=artifacts.root)
    data, against = artifacts.read("data.html"), artifacts.read("against.html")
    quantities = "length steps 7 120 999 features 2 2 2 Modes csv 12, npy 24"
    assert f"{quantities} Each packed sequence 2 features Stored as float32" in section(data, "files")
    assert "Feature Mean Standard deviation 0 1,234 10 1 -0.25 1e-05" in section(data, "files")
    assert "ant in test ant/0.png" in section(data, "duplicates")
    assert Elements(data).attributes("img", "alt") == [f"Contact sheet of class {label}" for label in LABELS]
    assert "83.3% of 12 test sequences classified correctly" in Elements(page).text
    errors = "ant predicted as bee 60.1% confidence ant/1.png ant predicted as bee 60.0% confidence ant/0.png"
    assert section(page, "errors").endswith(errors)
    for text in (*(Elements(html.partition("</style>")[2]).text for html in (data, page, against)), card):
        assert "image" not in text.lower()
        assert "pixel" not in text.lower()


def test_data_can_be_reported_before_training(artifacts: Artifacts) -> None:
    for name in ("train", "evaluate", "export", "explain"):
        shutil.rmtree(artifacts.root / name)
    page, card = artifacts.report()
    assert "Image classifier with 3 classes No model has been trained yet." in Elements(page).text
    assert "Code version" not in page
    assert "No model has been trained yet. Run leyden fit to train one." in Elements(page).text
    assert "run `leyden fit`" in card
    assert "2 findings to review" in artifacts.read("data.html")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, HOSTILE)
    artifacts.write_duplicates(["exact"])
    elements = Elements(artifacts.data_page(data=Path("<b>data</b>")))
    assert elements.script == page_script()
    assert "<b>data</b>" in elements.text
    assert {f"Contact sheet of class {label}" for label in HOSTILE} <= {attrs.get("alt") for _, attrs in elements.tags}


def test_a_messy_folder_is_prepared_and_reported(shapes: Path, tmp_path: Path) -> None:
    first, *_ = sorted((shapes / "cercle").glob("*.png"))
    shutil.copy(first, shapes / "carré" / "copy with a wrong label.png")
    shutil.copy(first, shapes / "cercle" / "copy.png")
    with Image.open(first) as image:
        image.resize((2 * image.width, 2 * image.height)).save(shapes / "cercle" / "larger.jpg", quality=90)
    (shapes / "cercle" / "empty.png").touch()
    prepare(data=shapes, out=tmp_path / "prepare")
    page = page_of(tmp_path / "prepare", tmp_path)
    text = Elements(page).text
    assert "Fix first 2 pairs of exact duplicates with different labels" in text
    assert "1 file rejected (1.1%)" in text
    assert "carré/copy with a wrong label.png" in section(page, "duplicates")
    assert "cercle/larger.jpg" in section(page, "duplicates")
    assert "empty file (1)" in section(page, "rejected")
    shown = [alt for alt in Elements(page).attributes("img", "alt") if alt and alt.startswith("Contact sheet")]
    assert len(shown) == 3


def test_prepared_sequences_are_reported(sequences_prepared: Path, tmp_path: Path) -> None:
    page = page_of(sequences_prepared / "artifacts/prepare", tmp_path)
    assert "sequences 150 from data" in Elements(page).text
    quantities = r"length steps 5 \d+ 59 features 2 2 2 Modes csv 51, float64 99 Each packed sequence 2 features"
    assert re.search(quantities, section(page, "files"))
    assert section(page, "sheets").endswith("besides their subject. down up wave")
    assert page.count("Contact sheet of class") == 3
