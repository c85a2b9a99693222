"""The page of the data: a verdict first, then what it stands on."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leyden.stages.prepare import prepare
from leyden.stages.report import report
from leyden.stages.report.templates import page_script
from tests.stages.test_report import COPIES, HOSTILE, LABELS, Artifacts, Elements, io_of, write_rows

LEAK = "What is tested was learned, so the scores flatter: remove one of each."


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path, LABELS)


def turn_to_sequences(artifacts: Artifacts) -> None:
    """Describe the data as `leyden prepare` describes sequences; no image is packed."""
    spread = {"min": 7, "median": 120, "max": 999}
    artifacts.change_report(
        input={"features": 2, "mean": [1234.5, -0.25], "std": [10.0, 1e-05]},
        files={"length": spread, "features": {"min": 2, "median": 2, "max": 2}, "modes": {"csv": 12, "npy": 24}},
        stored="float32 as it is",
    )
    for path in (artifacts.root / "prepare").glob("*.images.npy"):
        path.unlink()


def page_of(prepared: Path, folder: Path) -> str:
    """Give the page of data that was prepared and no more."""
    absent: dict[str, Any] = dict.fromkeys(("train", "evaluate", "export", "explain"), folder / "absent")
    report(prepare=prepared, **absent, out=folder / "report")
    return (folder / "report/data.html").read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    """Give the words of a section."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found, name
    return Elements(found[0]).text


def test_faultless_data_is_called_fit(artifacts: Artifacts) -> None:
    artifacts.change_report(
        counts={"train": dict.fromkeys(LABELS, 50), "val": dict.fromkeys(LABELS, 9), "test": dict.fromkeys(LABELS, 1)}
    )
    write_rows(artifacts.root / "prepare/rejected.csv", ["path", "reason"], [])
    page = artifacts.data_page()
    assert (
        "The data Fit to train on: no check found anything to mend or to look at. images 180 from data train 150 83.3%"
        in Elements(page).text
    )
    assert (
        section(page, "rejected") == "Rejected No file was rejected."
        and section(page, "duplicates") == "Copies No image occurs twice."
    )
    assert "Fit to train on: no check found anything" in artifacts.written("index.html")


def test_imbalance_is_counted_drawn_and_said(artifacts: Artifacts) -> None:
    artifacts.change_report(
        counts={
            "train": {"ant": 300, "bee": 6, "cat": 30},
            "val": dict.fromkeys(LABELS, 20),
            "test": {"ant": 80, "bee": 0, "cat": 5},
        }
    )
    page = artifacts.data_page()
    text = Elements(page).text
    assert "Look The largest class has 15 times the images of the smallest bee has 26, ant 400: accuracy hides" in text
    assert (
        "Look 1 class with fewer than 10 training images bee. Too few" in text
        and "Look 1 class with no test images bee. How well" in text
    )
    assert section(page, "classes").endswith("Class Train Val Test All ant 300 20 80 400 bee 6 20 0 26 cat 30 20 5 55")
    shares = [float(share) for share in re.findall(r"--share: ([\d.]+)", page)]
    assert shares == [0.75, 0.05, 0.2, 0.015, 0.05, 0.0, 0.075, 0.05, 0.0125]


def test_files_are_described(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, LABELS, shape=(6, 5, 3))
    spread = {"min": 0.5, "median": 1.333, "max": 1.5}
    artifacts.change_report(
        files={"height": {"min": 3, "median": 6, "max": 2400}, "aspect_ratio": spread, "modes": {"L": 2, "RGB": 1034}}
    )
    page = artifacts.data_page()
    files = section(page, "files")
    assert (
        "height pixels 3 6 2,400 aspect ratio width / height 0.5 1.333 1.5 Modes L 2, RGB 1,034 Each packed image 6 \u00d7 5 pixels"
        in files
    )
    assert "Stored as pixels, 30 of 36 images resized once On disk 1.2 kB packed, 0.0 kB each" in files
    assert files.endswith("Channel Mean Deviation red 0.5 0.25 green 0.5 0.25 blue 0.5 0.25")
    assert "Files of 2 modes (2 L and 1,034 RGB)" in page and "Aspect ratios from 0.50 to 1.50" in page


def test_rejected_files_are_counted_by_reason_and_the_first_listed(artifacts: Artifacts) -> None:
    rows = [
        [f"broken {n}.png", f"truncated ({n} bytes)" if n < 15 else "too small: 2x2, a side is below 4"]
        for n in range(25)
    ]
    write_rows(artifacts.root / "prepare/rejected.csv", ["path", "reason"], rows)
    text = section(artifacts.data_page(), "rejected")
    assert "25 files could not be used: truncated (15), too small (10). These are the first 20; all are in" in text
    assert "broken 19.png too small: 2x2" in text and "broken 20.png" not in text


def test_copies_are_counted_and_shown_worst_first_with_their_own_pictures(artifacts: Artifacts) -> None:
    harmless = [
        ["exact", f"train ant/{n}.png", "train ant/0.png", "ant", "ant", "train", "train"] for n in (1, 2, 3, 3, 3)
    ]
    near = ["near", "bee/4.png", "train cat/8.png", "bee", "cat", "test", "train"]
    conflict = ["exact", "train bee/5.png", "train ant/2.png", "bee", "ant", "train", "train"]
    leak = ["exact", "ant/1.png", "train ant/3.png", "ant", "ant", "test", "train"]
    write_rows(artifacts.root / "prepare/duplicates.csv", COPIES, [*harmless, near, conflict, leak])
    page = artifacts.data_page()
    text = section(page, "duplicates")
    assert "Exact the same content, whatever the file 7 1 1 Near nearly the same to the eye 1 1 1" in text
    assert "7 of 8, some of each sort, the most harmful first; the list is" in text
    order = (
        "Exact copies , two splits ant in train",
        "Exact copies , two labels ant in train",
        "Near copies , two splits , two labels",
        "Exact copies ant",
    )
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    uris = [attrs["src"] for tag, attrs in Elements(page).tags if tag == "img"][:2]
    for uri, split, row in zip(uris, ("train", "test"), (3, 1), strict=True):
        with Image.open(io_of(uri)) as image:
            assert np.array_equal(
                np.asarray(image)[..., None], np.load(artifacts.root / f"prepare/{split}.images.npy")[row]
            )
    for title in (
        "1 pair of exact copies in two splits",
        "1 pair of near copies with two labels",
        "5 pairs of copies within a split and a class",
    ):
        assert title in Elements(page).text


def test_what_must_be_mended_is_said_on_the_model_s_page_and_card(artifacts: Artifacts) -> None:
    artifacts.write_copies(["exact"])
    page, card = artifacts.report()
    verdict = "ot yet fit to train on: 2 things to mend, 2 to look at."
    assert f"The data: n{verdict} See what was found in it before trusting these figures." in Elements(page).text
    assert f"N{verdict}" in card and f"- 1 pair of exact copies in two splits: w{LEAK[1:]}" in card
    artifacts.write_copies(["near"])
    assert "before trusting these figures" not in artifacts.report()[0]


def test_groups_in_two_splits_are_named(artifacts: Artifacts) -> None:
    rows = [
        [f"{n}.png", "ant", split, "", group]
        for n, (split, group) in enumerate([("train", "eve"), ("test", "eve"), ("val", "bob"), ("val", "")])
    ]
    write_rows(artifacts.root / "prepare/manifest.csv", ["path", "label", "split", "sha256", "group"], rows)
    shutil.rmtree(artifacts.root / "evaluate")
    page = artifacts.data_page()
    assert section(page, "duplicates").endswith("Groups and their images Group Train Val Test eve 1 0 1")
    assert "Mend 1 group in two splits or more" in Elements(page).text


def test_contact_sheets_stay_within_their_room(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, [f"class {n}" for n in range(130)])
    noise = np.random.default_rng(0).integers(0, 256, (262, 262, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for number in range(130):
        shutil.copy(tmp_path / "noise.png", tmp_path / f"prepare/contact/{number}.png")
    page = artifacts.data_page()
    shown = [attrs["alt"] for tag, attrs in Elements(page).tags if tag == "img"]
    assert 20 < len(shown) < 130 and shown[-1] == f"Contact sheet of class class {len(shown) - 1}"
    assert f"{len(shown)} of 130 classes are shown; the other sheets are in {tmp_path}/prepare/contact" in section(
        page, "sheets"
    )
    assert 2_000_000 < len(page.encode()) < 5_000_000


def test_sequences_are_described_in_their_own_terms(artifacts: Artifacts) -> None:
    turn_to_sequences(artifacts)
    artifacts.write_copies(["exact"])
    write_rows(artifacts.root / "prepare/rejected.csv", ["path", "reason"], [])
    page, card = artifacts.report(against=artifacts.root)
    data, against = artifacts.written("data.html"), artifacts.written("against.html")
    assert (
        "length steps 7 120 999 features 2 2 2 Modes csv 12, npy 24 Each packed sequence 2 features Stored as float32"
        in section(data, "files")
    )
    assert "Feature Mean Deviation 0 1,234 10 1 -0.25 1e-05" in section(data, "files")
    assert "ant in test ant/0.png" in section(data, "duplicates")
    assert [attrs["alt"] for tag, attrs in Elements(data).tags if tag == "img"] == [
        f"Contact sheet of class {label}" for label in LABELS
    ]
    assert "83.3% of 12 test sequences named rightly" in Elements(page).text
    assert section(page, "errors").endswith(
        "ant taken for bee 60.1% sure ant/1.png ant taken for bee 60.0% sure ant/0.png"
    )
    for text in (*(Elements(written.partition("</style>")[2]).text for written in (data, page, against)), card):
        assert "image" not in text.lower() and "pixel" not in text.lower()


def test_data_can_be_judged_before_training(artifacts: Artifacts) -> None:
    for name in ("train", "evaluate", "export", "explain"):
        shutil.rmtree(artifacts.root / name)
    page, card = artifacts.report()
    assert (
        "Image classifier of 3 classes No model was trained yet." in Elements(page).text and "Code version" not in page
    )
    assert (
        "No model was trained: leyden fit makes this section." in Elements(page).text and "`leyden fit` does it" in card
    )
    assert "2 things are worth a look" in artifacts.written("data.html")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, HOSTILE)
    artifacts.write_copies(["exact"])
    elements = Elements(artifacts.data_page(data=Path("<b>data</b>")))
    assert elements.script == page_script() and "<b>data</b>" in elements.text
    assert {f"Contact sheet of class {label}" for label in HOSTILE} <= {attrs.get("alt") for _, attrs in elements.tags}


def test_a_messy_folder_is_prepared_and_shown(shapes: Path, tmp_path: Path) -> None:
    first, *_ = sorted((shapes / "cercle").glob("*.png"))
    shutil.copy(first, shapes / "carré" / "taken from another class.png")
    shutil.copy(first, shapes / "cercle" / "once more.png")
    with Image.open(first) as image:
        image.resize((2 * image.width, 2 * image.height)).save(shapes / "cercle" / "larger.jpg", quality=90)
    (shapes / "cercle" / "empty.png").touch()
    prepare(data=shapes, out=tmp_path / "prepare")
    page = page_of(tmp_path / "prepare", tmp_path)
    text = Elements(page).text
    assert "Mend 2 pairs of exact copies with two labels" in text and "1 file rejected (1.1%)" in text
    assert "carré/taken from another class.png" in section(page, "duplicates") and "cercle/larger.jpg" in section(
        page, "duplicates"
    )
    assert "empty file (1)" in section(page, "rejected")
    assert (
        len(
            [
                attrs
                for tag, attrs in Elements(page).tags
                if tag == "img" and (attrs["alt"] or "").startswith("Contact sheet")
            ]
        )
        == 3
    )


def test_prepared_sequences_are_shown(sequences_prepared: Path, tmp_path: Path) -> None:
    page = page_of(sequences_prepared / "artifacts/prepare", tmp_path)
    assert "sequences 150 from data" in Elements(page).text
    assert re.search(
        r"length steps 5 \d+ 59 features 2 2 2 Modes csv 51, float64 99 Each packed sequence 2 features",
        section(page, "files"),
    )
    assert (
        section(page, "sheets").endswith("beside its subject. down up wave")
        and page.count("Contact sheet of class") == 3
    )
