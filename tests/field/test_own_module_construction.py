"""Classes as strangers write them are built, or one line says why they cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.training.cli import LeydenCLI
from tests.conftest import REPO
from tests.field.own_module_runs import MODEL, NAMED, TRAIN, VAL_LOSS, arguments, assert_nothing_is_left_of, fit

pytestmark = pytest.mark.filterwarnings("ignore")  # of the users' code, which is not ours to change

# Code that does not begin to train: what the file holds beside the classes, its class Model, further arguments, error.
NOT_BUILT = {
    "syntax": ("def f(:", "", [], "got mine.Model: mine fails with SyntaxError"),
    "raises": ("raise RuntimeError('boom')", "", [], "mine fails with RuntimeError: boom (mine.py, line 16)"),
    "exits": ("sys.exit(3)", "", [], "mine fails with SystemExit: 3 (mine.py, line 16)"),
    "no package": ("import no_such_package", "", [], "No module named 'no_such_package' (mine.py, line 16)"),
    "no name": ("from torch import no_such", "", [], "cannot import name 'no_such' from 'torch'"),
    "no module": ("", "", ["--model=nobody.Model"], "got nobody.Model: No module named 'nobody'"),
    "no class": ("", "", ["--model=mine.Modle"], "module mine has no attribute 'Modle'"),
    "a file": ("", "", ["--model=./mine.py"], "model: expected package.module.Name as class_path; got ./mine.py"),
    "a dash": ("", "", ["--model=my-net.Model"], "model: expected package.module.Name as class_path; got my-net.Model"),
    "a colon": ("", "", ["--model=mine:Model"], "model: expected package.module.Name as class_path; got mine:Model"),
    "nested": ("", "class Inner(Net): pass", ["--model=mine.Model.Inner"], "No module named 'mine.Model'"),
    "function": (
        "def make() -> Net: return Net()",
        "",
        ["--model=mine.make"],
        "got mine.make, an object of type function",
    ),
    "value": ("three = 3", "", ["--model=mine.three"], "got mine.three, an object of type int"),
    "torch module": ("class Part(nn.Module): pass", "", ["--model=mine.Part"], "a class of another kind"),
    "swapped": ("", "", ["--model=mine.Data"], "expected a subclass of lightning.pytorch.LightningModule as model"),
    "no data module": ("", "", ["--data=mine.Model"], "expected a subclass of lightning.pytorch.LightningDataModule"),
    "other lightning": (
        "class LightningModule(nn.Module): pass\nclass Old(LightningModule): pass",
        "",
        ["--model=mine.Old"],
        "got mine.Old, a subclass of mine.LightningModule",
    ),
    "needs arguments": ("", "def __init__(self, width: int): ...", [], "arguments are required: width; got mine.Model"),
    "needs untyped": ("", "def __init__(self, width): ...", [], "expected values of the arguments width of mine.Model"),
    "wrong type": ("", "def __init__(self, width: int = 3): ...", ["--model.width=x"], "expected int; got x"),
    "misspelled": ("", "def __init__(self, width: int = 3): ...", ["--model.widht=3"], "did you mean 'width'?"),
    "wrong default": ("", "def __init__(self, a: float = np.float32(3)): ...", [], "expected float; got mine.Model"),
    "init raises": ("", "def __init__(self): raise KeyError('x')", [], "got KeyError: 'x' (mine.py, line 18)"),
    "init exits": ("", "def __init__(self): sys.exit(4)", [], "got one that ends the program"),
    "no super": (
        "",
        "def __init__(self): self.net = nn.ReLU()",
        [],
        "before Module.__init__() call (mine.py, line 18)",
    ),
    "nan": ("", "def __init__(self, a: float = float('nan')): super().__init__()", [], "can hold (no NaN, no"),
    "huge": (
        "",
        "def __init__(self, a: int = 10**400): super().__init__()",
        [],
        "expected arguments of mine.Model that a checkpoint can hold (no NaN, no integers of more than 1024 bits)",
    ),
}


@pytest.mark.parametrize("name", NOT_BUILT)
def test_a_class_that_cannot_be_built_is_one_line(name, write_mine, error_of):
    code, model, args, expected = NOT_BUILT[name]
    write_mine(model, code=code)
    for verb in ("fit", "doctor"):
        assert expected in error_of(verb, *arguments(*args))
        sys.modules.pop("mine", None)
    assert not Path("runs").exists()
    assert_nothing_is_left_of("train")


@pytest.mark.parametrize("settings", ["model.yaml", '{"class_path": "mine.Model"}'])
def test_settings_in_place_of_a_class_path_are_read(settings, write_mine):
    write_mine()
    Path("model.yaml").write_text("class_path: mine.Model")
    assert main(["fit", "--trainer.max_epochs=1", f"--model={settings}", "--data=mine.Data", VAL_LOSS]) == 0


def test_a_file_that_another_module_hides_is_named(write_mine, error_of):
    write_mine()
    Path("code.py").write_text("Model = 3")  # the standard library has a module of this name
    assert "it hides code.py, which needs another name" in error_of("fit", *arguments("--model=code.Model"))


CHANGES = {
    "another parameter": (
        "more = None\ndef __init__(self): super().__init__(); self.b = nn.Linear(1, 1)",
        "it lacks b.",
    ),
    "fewer": ("def __init__(self): super().__init__(); self.net = nn.Linear(4, 1, bias=False)", "it also has net.bias"),
    "another size": ("def __init__(self): super().__init__(); self.net = nn.Linear(9, 1)", "instead of (1, 9)"),
    "another argument": ("def __init__(self, width): super().__init__()", "it cannot be built"),
    "raises": ("def __init__(self): raise ValueError('late')", "it cannot be built: ValueError: late"),
    "renamed": (None, "no attribute 'Model'"),
    "loading raises": ("def on_load_checkpoint(self, checkpoint): checkpoint['mine']", "KeyError: 'mine'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_code_that_was_changed_after_its_training_is_one_line(name, write_mine):
    body, expected = CHANGES[name]
    write_mine()
    fit()
    sys.modules.pop("mine")
    write_mine(body or "")
    if body is None:
        Path("mine.py").write_text(Path("mine.py").read_text().replace("class Model", "class Renamed"))
    with pytest.raises(UserError, match="use the code that trained it, or train it again") as caught:
        leyden.load(MODEL)
    assert expected in str(caught.value)


def test_creating_the_data_module_creates_no_loader(write_mine):
    write_mine("", f"{TRAIN}Path('created').touch()\n    return super().train_dataloader()")
    LeydenCLI.parse("fit", arguments())
    assert not Path("created").exists()


@pytest.mark.slow
def test_a_script_in_a_folder_with_a_space_is_run_from_the_command_line(tmp_path):
    folder = tmp_path / "my folder"
    folder.mkdir()
    source = (REPO / "tests/field/own_module_parts.py").read_text()
    (folder / "mine.py").write_text(f"{source}\nclass Model(Net):\n    pass\n")
    leyden_command = [sys.executable, "-m", "leyden"]
    for args in (["fit", "--trainer.max_epochs=1", *NAMED, VAL_LOSS], ["evaluate"], ["predict", str(MODEL)]):
        done = subprocess.run([*leyden_command, *args], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    (folder / "mine.py").write_text("raise RuntimeError('gone')")
    done = subprocess.run([*leyden_command, "evaluate"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "RuntimeError: gone" in done.stderr
