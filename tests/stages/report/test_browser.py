"""The pages in a real browser, at the width of a desktop and of a phone."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: the group 'test' has it")
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait

from tests.stages.report.fake_artifacts import HOSTILE, LABELS, Artifacts, write_rows
from tests.stages.report.fake_measured import make_masks, make_multilabel, make_regression


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    mouse = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", mouse):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    yield chrome
    chrome.quit()


def visit(browser: Any, page: Path, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(page.as_uri())


LONG_LABELS = [f"a-class-with-quite-a-long-name-of-its-own-{n}" for n in range(26)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three pages of a run that is compared with itself."""
    root = tmp_path_factory.mktemp("pages")
    artifacts = Artifacts(root, LABELS)
    artifacts.write_duplicates(["exact"])
    artifacts.report(against=root)
    return root / "report"


@pytest.mark.parametrize("name", ["index.html", "data.html", "against.html"])
def test_every_link_leads_to_its_target(pages: Path, browser: Any, name: str) -> None:
    visit(browser, pages / name, 375)
    for index, _ in enumerate(browser.find_elements("css selector", "a")):
        link = browser.find_elements("css selector", "a")[index]
        target = link.get_attribute("href")
        browser.execute_script("arguments[0].focus()", link)  # the skip link is off-screen until it has the focus
        ActionChains(browser).send_keys(Keys.ENTER).perform()
        assert browser.current_url == target
        assert_intact(browser, 375)
        top = browser.execute_script(
            "return (document.querySelector(location.hash || 'main')).getBoundingClientRect().top"
        )
        assert -1 <= top < 800, target
        if name not in browser.current_url:
            browser.back()


@pytest.mark.parametrize("width", [1280, 375])
def test_a_table_sorts_by_mouse_and_by_keyboard(pages: Path, browser: Any, width: int) -> None:
    visit(browser, pages / "index.html", width)
    table = browser.find_element("css selector", "#scores table.sortable")
    button = next(heading for heading in table.find_elements("css selector", "th button") if heading.text == "Recall")
    heading = button.find_element("xpath", "..")
    orders = []
    for press in (button.click, lambda: button.send_keys(Keys.ENTER)):
        before = rows(table)
        press()
        wait(browser, lambda before=before: rows(table) != before)
        orders.append((heading.get_attribute("aria-sort"), rows(table)))
    assert orders == [("descending", ["bee", "cat", "ant"]), ("ascending", ["ant", "bee", "cat"])]
    assert_intact(browser, width)


def test_numbers_sort_by_value_and_not_as_text(pages: Path, browser: Any) -> None:
    cells = (
        "return [...document.querySelectorAll('[data-sort]')].map(cell => cell.dataset.sort)"
        ".filter(text => text && isNaN(text))"
    )
    for name in ("index.html", "against.html"):
        browser.get((pages / name).as_uri())
        assert browser.execute_script(cells) == []


@pytest.mark.parametrize("width", [1280, 375])
def test_a_plot_is_enlarged_moved_and_restored(pages: Path, browser: Any, width: int) -> None:
    visit(browser, pages / "index.html", width)
    button = browser.find_element("css selector", "#training .enlarge")
    dialog = browser.find_element("id", "enlarged")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert dialog.is_displayed()
    assert dialog.accessible_name.startswith("loss by epoch")
    sheet = dialog.find_element("css selector", ".stage > div")
    transforms = [sheet.get_attribute("style")]
    for press in (
        dialog.find_element("name", "in").click,
        lambda: dialog.send_keys(Keys.ARROW_LEFT),
        lambda: dialog.send_keys("0"),
    ):
        press()
        wait(browser, lambda: sheet.get_attribute("style") != transforms[-1])
        transforms.append(sheet.get_attribute("style"))
    assert ["scale(1)" in transform for transform in transforms] == [True, False, False, True], transforms
    assert_intact(browser, width)
    dialog.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element == button
    assert button.find_element("xpath", "..").find_element("css selector", "svg").is_displayed()


def test_an_error_shows_its_map_on_tap_hover_and_focus(pages: Path, browser: Any) -> None:
    visit(browser, pages / "index.html", 1280)
    button = browser.find_element("css selector", "#errors button.map")
    map_image = button.find_elements("css selector", "img")[1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    away = browser.find_element("id", "errors-heading")
    steps = {
        "hover": ActionChains(browser).move_to_element(button),
        "away": ActionChains(browser).move_to_element(away),
        "tap": ActionChains(browser).move_to_element(button).click().move_to_element(away),
        "tap again": ActionChains(browser).move_to_element(button).click().move_to_element(away),
        "focus": ActionChains(browser).send_keys(Keys.TAB).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT),
    }
    opacities = {}
    for name, step in steps.items():
        step.perform()
        opacities[name] = map_image.value_of_css_property("opacity")
    assert opacities == {"hover": "1", "away": "0", "tap": "1", "tap again": "0", "focus": "1"}
    assert button.get_attribute("aria-pressed") == "false"
    assert browser.switch_to.active_element == button


def test_details_open_by_keyboard(pages: Path, browser: Any) -> None:
    visit(browser, pages / "index.html", 375)
    for summary in browser.find_elements("css selector", "summary"):
        summary.send_keys(Keys.ENTER)
        assert summary.find_element("xpath", "..").get_attribute("open")
    assert_intact(browser, 375)


def test_without_scripts_all_content_is_there_and_no_dead_buttons(pages: Path, browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        visit(browser, pages / "index.html", 375)
        names = ("svg.chart", "#scores table", "button.map", "dialog[open]", "th button", ".enlarge")
        assert [len(browser.find_elements("css selector", name)) for name in names] == [3, 3, 1, 0, 0, 0]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def rows(table: Any) -> list[str]:
    return [heading.text for heading in table.find_elements("css selector", "tbody th")]


def wait(browser: Any, condition: Callable[[], bool]) -> None:
    """Wait until a script has made a condition true."""
    WebDriverWait(browser, 5, poll_frequency=0.02).until(lambda _: condition())


@pytest.mark.parametrize("page", ["index.html", "data.html"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("labels", [HOSTILE, LONG_LABELS[:25], LONG_LABELS], ids=["hostile", "matrix", "pairs"])
def test_pages_are_intact(tmp_path: Path, browser: Any, labels: list[str], width: int, page: str) -> None:
    artifacts = Artifacts(tmp_path, labels, shape=(40, 90, 3))
    artifacts.write_duplicates(["exact", "near"] * 3)
    artifacts.report()
    visit(browser, tmp_path / "report" / page, width)
    assert_intact(browser, width)


def assert_intact(browser: Any, width: int) -> None:
    """Check for console errors, requests, missing images and content wider than the window."""
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)") == []
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert all(widths)
    assert bool(widths) != browser.current_url.partition("#")[0].endswith("against.html")
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 375])
def test_bars_of_the_classes_are_to_scale(tmp_path: Path, browser: Any, width: int) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    artifacts.change_report(
        counts={
            "train": {"ant": 300, "bee": 6, "cat": 30},
            "val": dict.fromkeys(LABELS, 20),
            "test": dict.fromkeys(LABELS, 80),
        }
    )
    artifacts.report()
    visit(browser, tmp_path / "report/data.html", width)
    bars = browser.execute_script(
        "return [...document.querySelectorAll('.bar span')].map(bar => bar.getBoundingClientRect().width)"
    )
    table = browser.execute_script("return document.querySelector('.counts').getBoundingClientRect().width")
    assert bars == pytest.approx([table * count / 400 for count in (300, 20, 80, 6, 20, 80, 30, 20, 80)], abs=0.1)
    assert table <= width - 32


def test_a_finding_links_to_its_section(tmp_path: Path, browser: Any) -> None:
    Artifacts(tmp_path, LABELS).report()
    visit(browser, tmp_path / "report/index.html", 375)
    browser.find_element("partial link text", "files rejected").click()
    assert browser.current_url.endswith("/data.html#rejected")
    top = browser.execute_script("return document.querySelector('#rejected-heading').getBoundingClientRect().top")
    assert 0 <= top < 400
    browser.find_element("partial link text", "The model").click()
    assert browser.current_url.endswith("/index.html")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_column_of_the_classes_is_cut_off_by_long_names(tmp_path: Path, browser: Any, width: int) -> None:
    artifacts = Artifacts(tmp_path, [f"{'x' * 40}_{number}" for number in range(31)], shape=(8, 8, 1))
    rows = [[label, 4, 0.9, 1.0, 0.876, 0.51, 1.0] for label in artifacts.labels]
    columns = ["label", "count", "precision", "recall", "f1", "recall_low", "recall_high"]
    write_rows(tmp_path / "evaluate/tables/per_class.csv", columns, rows)
    artifacts.report()
    visit(browser, tmp_path / "report/index.html", width)
    boxes = (
        "return [...document.querySelectorAll('#scores .scroll:has(.names)')].map(b => [b.scrollWidth, b.clientWidth])"
    )
    sizes = browser.execute_script(boxes)
    assert len(sizes) == 2
    assert all(content <= box for content, box in sizes), sizes


@pytest.mark.parametrize("make", [make_regression, make_multilabel, make_masks])
def test_pages_of_other_tasks_fit_a_phone(tmp_path: Path, browser: Any, make: Callable[[Artifacts], None]) -> None:
    artifacts = Artifacts(tmp_path, LABELS)
    make(artifacts)
    artifacts.report(against=tmp_path)
    for name in ("index.html", "data.html", "against.html"):
        visit(browser, tmp_path / "report" / name, 390)
        assert_intact(browser, 390)
