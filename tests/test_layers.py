"""Which package may import which, and dvc.yaml's dependencies, which must be the modules that a stage imports."""

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
# Modules that affect no result, such as how files are written and which are trusted: editing them re-runs no stage.
PLUMBING = {
    "leyden",
    *(f"leyden.{name}" for name in ("class_paths", "cli", "completion", "cost", "errors", "memory")),
    *(f"leyden.{name}" for name in ("parsing", "ranges", "stages", "yaml_files")),
    *(f"leyden.{package}" for package in ("files", "trust")),
    *(f"leyden.{package}.{path.stem}" for package in ("files", "trust") for path in (PACKAGE / package).glob("*.py")),
}
DVC = yaml.safe_load((PACKAGE.parents[1] / "dvc.yaml").read_text())


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, also inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def files_in(prefix: str) -> dict[str, Path]:
    return {name: path for name, path in FILES.items() if name == prefix or name.startswith(prefix + ".")}


# From the lowest to the highest. Packages of one layer do not import each other, except as listed below.
LAYERS = (
    ("errors", "files", "trust", "artifacts", "ops", "statistics", "imaging"),
    ("tasks", "outputs"),
    ("data", "models", "runtimes"),
    ("training",),
    ("stages",),
)
EXCEPTIONS = {
    "files": ("errors",),
    "trust": ("errors", "files"),
    "artifacts": ("errors", "files"),
    "imaging": ("errors", "files", "trust"),
    "statistics": ("errors",),
    "runtimes": ("models",),
}
WITHOUT_LIGHTNING = ("ops", "statistics", "trust", "runtimes")


def forbidden_imports(package: str) -> tuple[str, ...]:
    """Return the packages of the same layer and of higher ones."""
    level = next(number for number, packages in enumerate(LAYERS) if package in packages)
    forbidden = {other for packages in LAYERS[level:] for other in packages} - {package, *EXCEPTIONS.get(package, ())}
    lightning = ("lightning",) if package in WITHOUT_LIGHTNING else ()
    return (*(f"leyden.{other}" for other in sorted(forbidden)), *lightning)


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= {package for packages in LAYERS for package in packages}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        *(
            (f"leyden.{package}", forbidden_imports(package))
            for packages in LAYERS
            for package in packages
            if package != "stages"
        ),
        *(
            (f"leyden.stages.{stage}", tuple(f"leyden.stages.{other}" for other in STAGES if other != stage))
            for stage in STAGES
        ),
    ],
)
def test_a_package_imports_only_lower_layers(package, forbidden):
    assert files_in(package), package
    wrong = [
        (name, imported)
        for name, path in files_in(package).items()
        for imported in imports_of(path)
        if any(f"{imported}.".startswith(f"{other}.") for other in forbidden)
    ]
    assert wrong == []


def needed_by(stage: str) -> set[str]:
    """Return the modules of leyden that a stage imports, directly or indirectly."""
    waiting, seen = list(files_in(f"leyden.stages.{stage}")), set()
    while waiting:
        name = waiting.pop()
        if name in FILES and name not in seen | PLUMBING:
            seen.add(name)
            waiting += imports_of(FILES[name])
            # Modules that are imported by name. `prepare` calls nothing of tasks that computes with tensors.
            if name in ("leyden.tasks", "leyden.outputs") and stage != "prepare":
                waiting += files_in(name)
    return seen


@pytest.mark.parametrize("stage", sorted(DVC["stages"]))
def test_dvc_stage_depends_on_the_modules_that_it_imports(stage):
    covered = [PACKAGE.parents[1] / dep for dep in DVC["stages"][stage]["deps"] if dep.startswith("src")]
    missing = [name for name in needed_by(stage) if not any(FILES[name].is_relative_to(dep) for dep in covered)]
    # The __init__.py files of these packages hold only a docstring.
    assert [
        name for name in missing if name not in ("leyden.data", "leyden.imaging", "leyden.models", "leyden.statistics")
    ] == []


def test_no_source_file_is_longer_than_400_lines():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
