"""The pages in a real browser, at the width of a desk and of a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stages.test_report import HOSTILE, LABELS, Artifacts


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver on the PATH")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: the group 'test' has it")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def visit(browser: Any, page: Path, width: int) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False})
    browser.get(page.as_uri())


MANY = [f"a-class-with-quite-a-long-name-of-its-own-{n}" for n in range(26)]


@pytest.mark.parametrize("page", ["index.html", "data.html"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("labels", [LABELS, HOSTILE, MANY[:25], MANY], ids=["plain", "hostile", "matrix", "pairs"])
def test_browser_shows_the_page_whole(tmp_path: Path, browser: Any, labels: list[str], width: int, page: str) -> None:
    artifacts = Artifacts(tmp_path, labels, shape=(40, 90, 3))
    artifacts.write_copies(["exact", "near"] * 3)
    artifacts.report()
    visit(browser, tmp_path / "report" / page, width)
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert widths and all(widths)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= browser.execute_script("return innerWidth") == width


@pytest.mark.parametrize("width", [1280, 375])
def test_browser_draws_the_imbalance_in_full_view(tmp_path: Path, browser: Any, width: int) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    artifacts.change_report(counts={"train": {"ant": 300, "bee": 6, "cat": 30}, "val": dict.fromkeys(LABELS, 20), "test": dict.fromkeys(LABELS, 80)})
    artifacts.report()
    visit(browser, tmp_path / "report/data.html", width)
    bars = browser.execute_script("return [...document.querySelectorAll('.bar span')].map(bar => bar.getBoundingClientRect().width)")
    table = browser.execute_script("return document.querySelector('.counts').getBoundingClientRect().width")
    assert bars == pytest.approx([table * count / 400 for count in (300, 20, 80, 6, 20, 80, 30, 20, 80)], abs=0.1)
    assert table <= width - 32


def test_browser_leads_from_a_finding_to_what_it_stands_on(tmp_path: Path, browser: Any) -> None:
    Artifacts(tmp_path, LABELS).report()
    visit(browser, tmp_path / "report/index.html", 375)
    browser.find_element("partial link text", "files rejected").click()
    assert browser.current_url.endswith("/data.html#rejected")
    assert 0 <= browser.execute_script("return document.querySelector('#rejected-heading').getBoundingClientRect().top") < 400
    browser.find_element("partial link text", "The model").click()
    assert browser.current_url.endswith("/index.html")
