"""The README: its commands run in a fresh clone, its figures were measured, its tree and its links are complete."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import REPO, SHAPES, export_less, write_shapes

README = (REPO / "README.md").read_text(encoding="utf-8")
# Files that the walks in CONTRIBUTING.md add.
EXAMPLES = {"focal", "gradient_norm", "mlp", "clopper_pearson", "npz", "balance", "wide"}
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
RESULTS = {row["name"]: row for row in json.loads((REPO / "benchmarks/results.json").read_text())}


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return the language and the content of the fenced blocks of commands and Python."""
    return re.findall(r"^```(bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def as_script(text: str) -> str:
    """Turn a page's blocks into one script: a user types them into one shell."""
    lines = ["set -eo pipefail"]
    for language, block in code_blocks(text):
        if "my_package" in block:  # tests/training/test_foreign_modules.py trains such classes
            continue
        lines.append(block if language == "bash" else f"python - <<'END'\n{block}END\n")
    return "\n".join(lines)


def take_less_time(checkout: Path) -> None:
    export_less(checkout)
    for stage, values in {"evaluate": {"robustness": []}, "explain": {"methods": ["saliency"]}}.items():
        config = checkout / f"configs/{stage}.yaml"
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | values))


def test_commands_run_in_a_fresh_clone_on_data_of_your_own(made, run):
    """All but the first two: `make repro` runs further down the page, on other data, and your module is not there."""
    introduction, rest = README.split("\n## ", 1)
    ((_, first_commands),) = code_blocks(introduction)
    assert [shlex.split(line, comments=True) for line in first_commands.splitlines()] == [
        ["make", "repro"],
        ["leyden", "fit", "--model=my_package.MyModule", "--data=my_package.MyData"],
    ]
    assert not (made / "data").exists()
    take_less_time(made)
    write_shapes(made / "MY_FOLDER", per_class=40)
    output = run(as_script(rest))

    report = json.loads((made / "artifacts/prepare/report.json").read_text())
    assert report["labels"] == sorted(SHAPES)
    assert report["input"]["channels"] == 3
    metrics = json.loads((made / "artifacts/evaluate/metrics.json").read_text())
    assert metrics["accuracy"] > 0.8
    assert metrics["examples"] > 10
    rows = json.loads((made / "artifacts/export/report.json").read_text())
    assert {row["status"] for row in rows} == {"checked"}, rows
    page = (made / "artifacts/report/index.html").read_text()
    assert all(label in page for label in SHAPES)
    with open(made / "predictions.csv", newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 120
    assert sum(f"/{row['prediction']}/" in row["path"] for row in predictions) > 100
    assert "compare: accuracy" in output


def test_it_is_short_and_opens_with_one_sentence_a_picture_and_two_commands():
    assert len(README.split()) <= 1100
    title, sentence, picture, _, commands, *_ = README.split("\n\n")
    assert title == "# Leyden"
    assert re.fullmatch(r"[^.\n]+\.", sentence)
    assert re.fullmatch(r"!\[[^]]+\]\(docs/report\.png\)", picture)
    assert commands.startswith("```bash\nmake repro")


def test_the_picture_is_a_small_png():
    assert (REPO / "docs/report.png").stat().st_size <= 150_000
    with Image.open(REPO / "docs/report.png") as image:
        assert image.format == "PNG"
        assert image.width >= 1000


def percent(name: str) -> str:
    return f"{RESULTS[name]['value']:.1%}"


def test_figures_are_those_of_the_results():
    formats = yaml.safe_load((REPO / "configs/export.yaml").read_text())["formats"]
    num_files = sum(len(precisions) for precisions in formats.values())
    value = {name: row["value"] for name, row in RESULTS.items()}
    ratio = {name: row["ratio"] for name, row in RESULTS.items()}
    for phrase in (
        f"{percent('accuracy')} test accuracy on the sample "
        f"(5 seeds, {percent('accuracy_lowest')} to {percent('accuracy_highest')})",
        f"{value['repro']:.0f} seconds for the whole pipeline",
        f"{num_files} exported files",
        f"a second `make repro` takes {value['noop']:.1f} seconds",
        f"{value['input_small']:,} images/s: {ratio['input_small']:.0f}x ImageFolder",
        f"{ratio['trainer_tax']:.2f}x the time per step",
        f"{ratio['int8_b1']:.1f}x and {ratio['int8_b64']:.1f}x as fast",
        f"{value['cifar10_fast_seconds'] / 60:.0f} minutes of training",
        f"{percent('cifar10_fast')} (5 seeds, {percent('cifar10_fast_lowest')} to {percent('cifar10_fast_highest')})",
    ):
        assert phrase in README
    assert value["int8_lost"] == 0, "the README says that no accuracy is lost"


def test_the_tree_has_a_line_for_each_room_and_names_each_stage():
    tree = README.split("## The tree")[1].split("##")[0]
    rooms = {
        path.name + ("/" if path.is_dir() else "")
        for path in (REPO / "src/leyden").iterdir()
        if not path.name.startswith("__")
    }
    assert set(re.findall(r"^      (\S+)", tree, re.MULTILINE)) == rooms
    stages = {path.stem for path in (REPO / "src/leyden/stages").iterdir() if not path.name.startswith("__")}
    assert set(re.search(r"stages/ +(.+)", tree)[1].split(", ")) == stages


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_named_paths_exist(page):
    text = page.read_text(encoding="utf-8")
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    named = re.findall(r"`((?:src|tests|configs|docs|benchmarks|notebooks)/[\w./-]+)`", text)
    named = [name for name in named if Path(name).stem.removeprefix("test_") not in EXAMPLES]
    missing = [
        str(path)
        for path in (*(page.parent / link for link in links), *(REPO / name for name in named))
        if not path.exists()
    ]
    assert missing == []


def test_every_page_is_linked_from_the_readme():
    assert {f"docs/{path.name}" for path in (REPO / "docs").glob("*.md")} <= set(re.findall(r"\]\(([^)]+)\)", README))


def test_the_techniques_name_every_config_and_no_other():
    text = (REPO / "docs/techniques.md").read_text()
    named = {
        path.relative_to(REPO / "configs").as_posix()
        for pattern in re.findall(r"`((?:trainer|experiment|cluster)/\S+)`", text)
        for path in (REPO / "configs").glob(pattern) or pytest.fail(f"{pattern} does not exist")
    }
    configs = {path.relative_to(REPO / "configs").as_posix() for path in (REPO / "configs").glob("*/*")}
    assert configs - named == {"trainer/debug.yaml", "trainer/gpu.yaml", "experiment/no_crop.yaml"}


def test_messages_name_sections_and_files_that_exist():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPO / "src").rglob("*.py"))
    sections = set(re.findall(r"see README, '([^']+)'", source))
    assert sections <= set(re.findall(r"^## (.+)$", README, re.MULTILINE))
    named = set(re.findall(r"(?:docs|configs)/[\w./-]+\.(?:md|yaml)", source))
    missing = [name for name in named if not (REPO / name).exists()]
    assert {name for name in missing if Path(name).stem.islower()} == set()  # configs/STAGE.yaml stands for any stage
