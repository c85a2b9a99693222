"""The house: who may import whom, and dvc.yaml's dependencies, which must be what a stage imports."""

import ast
from pathlib import Path

import pytest
import yaml

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "leyden"
STAGES = sorted(
    path.stem
    for path in (PACKAGE / "stages").iterdir()
    if path.stem != "__init__" and not path.stem.startswith("__pyc")
)
# What decides no result, how files are written and which are trusted: no stage runs again after an edit there.
PLUMBING = {
    "leyden",
    *(f"leyden.{name}" for name in ("cli", "completion", "errors", "memory", "parsing", "stages")),
    *(f"leyden.{room}" for room in ("files", "trust")),
    *(f"leyden.{room}.{path.stem}" for room in ("files", "trust") for path in (PACKAGE / room).glob("*.py")),
}
DVC = yaml.safe_load((PACKAGE.parents[1] / "dvc.yaml").read_text())


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, functions' own imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def files_in(prefix: str) -> dict[str, Path]:
    return {name: path for name, path in FILES.items() if name == prefix or name.startswith(prefix + ".")}


LAYERS = (  # the lowest first; rooms of one layer do not import one another, but for the exceptions below
    ("errors", "files", "trust", "artifacts", "ops", "statistics"),
    ("data", "models", "runtimes"),
    ("training",),
    ("stages",),
)
EXCEPTIONS = {
    "files": ("errors",),
    "trust": ("errors", "files"),
    "artifacts": ("errors", "files"),
    "statistics": ("errors",),
    "runtimes": ("models",),
}
WITHOUT_LIGHTNING = ("ops", "statistics", "trust", "runtimes")


def forbidden_to(room: str) -> tuple[str, ...]:
    """Rooms of the same layer and of higher ones."""
    level = next(number for number, rooms in enumerate(LAYERS) if room in rooms)
    banned = {other for rooms in LAYERS[level:] for other in rooms} - {room, *EXCEPTIONS.get(room, ())}
    return (*(f"leyden.{other}" for other in sorted(banned)), *(("lightning",) if room in WITHOUT_LIGHTNING else ()))


def test_every_room_has_a_layer():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= {room for rooms in LAYERS for room in rooms}


@pytest.mark.parametrize(
    ("layer", "forbidden"),
    [
        *((f"leyden.{room}", forbidden_to(room)) for rooms in LAYERS for room in rooms if room != "stages"),
        *(
            (f"leyden.stages.{stage}", tuple(f"leyden.stages.{other}" for other in STAGES if other != stage))
            for stage in STAGES
        ),
    ],
)
def test_a_layer_imports_only_what_lies_below(layer, forbidden):
    assert files_in(layer), layer
    wrong = [
        (name, found)
        for name, path in files_in(layer).items()
        for found in imports_of(path)
        if any(found == banned or found.startswith(banned + ".") for banned in forbidden)
    ]
    assert wrong == []


def needed_by(stage: str) -> set[str]:
    """Modules of this package that a stage imports, directly or not."""
    waiting, seen = list(files_in(f"leyden.stages.{stage}")), set()
    while waiting:
        name = waiting.pop()
        if name in FILES and name not in seen | PLUMBING:
            seen.add(name)
            waiting += imports_of(FILES[name])
    return seen


@pytest.mark.parametrize("stage", sorted(DVC["stages"]))
def test_dvc_stage_depends_on_the_modules_that_it_imports(stage):
    covered = [PACKAGE.parents[1] / dep for dep in DVC["stages"][stage]["deps"] if dep.startswith("src")]
    missing = [name for name in needed_by(stage) if not any(FILES[name].is_relative_to(dep) for dep in covered)]
    missing = [
        name for name in missing if name not in ("leyden.data", "leyden.models", "leyden.statistics")
    ]  # packages' own docstrings
    assert missing == []


def test_every_source_file_keeps_the_house_size():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
