"""Whom the pages shut out: contrast, headings, tables and names, for readers of little sight and of none."""

import itertools
import re
from pathlib import Path

import pytest

from leyden.stages.report.templates import HERE
from tests.stages.test_report import LABELS, Artifacts, Elements

CSS = (HERE / "page.css").read_text(encoding="utf-8")
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, re.DOTALL), strict=True))
TEXT = ("ink", "muted", "accent", "wrong", "good", "doubt")
AA_TEXT, AA_GRAPHICS = 4.5, 3.0  # https://www.w3.org/TR/WCAG22/#contrast-minimum and #non-text-contrast


def rgb(scheme: str, name: str) -> tuple[float, ...]:
    found = re.search(rf"--{name}: #([0-9a-f]{{6}})", SCHEMES[scheme])
    assert found, name
    return tuple(int(found[1][place : place + 2], 16) / 255 for place in (0, 2, 4))


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Compute the contrast ratio of two sRGB colours. Source: WCAG 2.2, "contrast ratio"."""
    dark, light = sorted(
        sum(
            weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
            for weight, part in zip(WEIGHTS, colour, strict=True)
        )
        for colour in (first, second)
    )
    return (light + 0.05) / (dark + 0.05)


WEIGHTS = (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_and_lines_stand_out(scheme: str) -> None:
    grounds = [rgb(scheme, name) for name in ("ground", "raised")]
    for name, ground in itertools.product(TEXT, grounds):
        assert contrast(rgb(scheme, name), ground) >= AA_TEXT, name
    for number, ground in itertools.product(range(1, 5), grounds):
        assert contrast(rgb(scheme, f"series-{number}"), ground) >= AA_GRAPHICS, number


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tone", ["series-1", "wrong"])
def test_counts_can_be_read_on_the_fullest_cell_of_the_matrix(scheme: str, tone: str) -> None:
    shares = re.search(r"var\(--tone\) calc\((\d+)% \+ var\(--share\) \* (\d+)%\), var\(--raised\)", CSS)
    assert shares
    mix = (int(shares[1]) + int(shares[2])) / 100
    cell = tuple(
        mix * top + (1 - mix) * under for top, under in zip(rgb(scheme, tone), rgb(scheme, "raised"), strict=True)
    )
    assert contrast(rgb(scheme, "ink"), cell) >= AA_TEXT


def test_motion_is_only_for_those_who_want_it() -> None:
    still = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]*\{[^}]*\})*\s*\}", "", CSS)
    assert still != CSS and not re.search("transition|animation|scroll-behavior", still)


@pytest.mark.parametrize("name", ["index.html", "data.html", "against.html"])
def test_pages_can_be_heard(tmp_path: Path, name: str) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    artifacts.write_copies(["exact"])
    artifacts.report(against=tmp_path)
    page = artifacts.written(name)
    tags = Elements(page).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == levels.count(1) == 1 and all(
        after - before <= 1 for before, after in itertools.pairwise(levels)
    )
    assert [tag for tag, _ in tags].count("main") == 1 and {"nav", "dialog"} <= {tag for tag, _ in tags}
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in tags if tag == "th")
    assert page.count("<table") == page.count("<caption") > 0
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img") and all(
        attrs.get("aria-label") for tag, attrs in tags if tag == "svg"
    )
    assert all(attrs.get("aria-label") for _, attrs in tags if attrs.get("role") == "region")
