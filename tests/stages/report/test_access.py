"""Accessibility of the pages: contrast, headings, tables and text alternatives."""

import itertools
import re
from pathlib import Path

import pytest

from leyden.stages.report.templates import HERE
from tests.stages.report.fake_artifacts import LABELS, Artifacts, Elements

CSS = (HERE / "page.css").read_text(encoding="utf-8")
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, re.DOTALL), strict=True))
TEXT = ("ink", "muted", "accent", "wrong", "good", "warning")
LUMINANCE_WEIGHTS = (0.2126, 0.7152, 0.0722)  # of red, green, blue
AA_TEXT, AA_GRAPHICS = 4.5, 3.0  # https://www.w3.org/TR/WCAG22/#contrast-minimum and #non-text-contrast


def rgb(scheme: str, name: str) -> tuple[float, ...]:
    found = re.search(rf"--{name}: #([0-9a-f]{{6}})", SCHEMES[scheme])
    assert found, name
    return tuple(int(found[1][start : start + 2], 16) / 255 for start in (0, 2, 4))


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Compute the contrast ratio of two sRGB colours. Source: WCAG 2.2, "contrast ratio"."""
    dark, light = sorted(
        sum(
            weight * (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
            for weight, value in zip(LUMINANCE_WEIGHTS, colour, strict=True)
        )
        for colour in (first, second)
    )
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_and_lines_have_enough_contrast(scheme: str) -> None:
    backgrounds = [rgb(scheme, name) for name in ("background", "raised")]
    for name, background in itertools.product(TEXT, backgrounds):
        assert contrast(rgb(scheme, name), background) >= AA_TEXT, name
    for number, background in itertools.product(range(1, 5), backgrounds):
        assert contrast(rgb(scheme, f"series-{number}"), background) >= AA_GRAPHICS, number


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tone", ["series-1", "wrong"])
def test_counts_are_readable_on_the_darkest_cell_of_the_matrix(scheme: str, tone: str) -> None:
    shares = re.search(r"var\(--tone\) calc\((\d+)% \+ var\(--share\) \* (\d+)%\), var\(--raised\)", CSS)
    assert shares
    mix = (int(shares[1]) + int(shares[2])) / 100
    cell = tuple(
        mix * front + (1 - mix) * back for front, back in zip(rgb(scheme, tone), rgb(scheme, "raised"), strict=True)
    )
    assert contrast(rgb(scheme, "ink"), cell) >= AA_TEXT


def test_motion_is_off_for_readers_who_prefer_reduced_motion() -> None:
    without_motion = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]*\{[^}]*\})*\s*\}", "", CSS)
    assert without_motion != CSS
    assert not re.search("transition|animation|scroll-behavior", without_motion)


@pytest.mark.parametrize("name", ["index.html", "data.html", "against.html"])
def test_pages_work_with_a_screen_reader(tmp_path: Path, name: str) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    artifacts.write_duplicates(["exact"])
    artifacts.report(against=tmp_path)
    page = artifacts.read(name)
    tags = Elements(page).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert [tag for tag, _ in tags].count("main") == 1
    assert {"nav", "dialog"} <= {tag for tag, _ in tags}
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in tags if tag == "th")
    assert page.count("<table") == page.count("<caption") > 0
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in tags if tag == "svg")
    assert all(attrs.get("aria-label") for _, attrs in tags if attrs.get("role") == "region")
