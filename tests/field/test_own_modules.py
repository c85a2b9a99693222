"""Modules and data modules as strangers write them: they work with true figures, or one line says what to do."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.files.tables import read_table
from leyden.runtimes.module_inputs import find_lengths
from leyden.stages.export.own_module import compare
from leyden.training.cli import LeydenCLI
from tests.conftest import REPO
from tests.field.own_module_parts import rows

pytestmark = pytest.mark.filterwarnings("ignore")  # of the users' code, which is not ours to change
MODEL = Path("artifacts/train/model.ckpt")
HEADER = """
import collections, dataclasses, enum, os, sys, threading, typing
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tests.field.own_module_parts import Data, Net, rows
"""
NAMED = ["--model=mine.Model", "--data=mine.Data"]
VAL_LOSS = "--checkpoint.monitor=val_loss"
TWO_FORMATS = '--formats={"pt2": ["fp32"], "onnx": ["fp32"]}'
Write = Callable[..., None]
ErrorOf = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes mine.py: the bodies of a class Model and of a class Data, or other code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(model: str = "", data: str = "", code: str = "") -> None:
        classes = {"Model(Net)": model, "Data(Data)": data}
        bodies = [f"class {name}:\n{textwrap.indent(body or 'pass', '    ')}\n" for name, body in classes.items()]
        Path("mine.py").write_text("\n".join([HEADER, code, *bodies]))

    yield write
    sys.modules.pop("mine", None)


def arguments(*args: str) -> list[str]:
    """Return the arguments of a verb that trains or scores; the monitored score is val_loss if they name no other."""
    return [*NAMED, *([] if any("monitor" in arg for arg in args) else [VAL_LOSS]), *args]


def fit(*args: str) -> None:
    assert main(["fit", "--trainer.max_epochs=2", *arguments(*args)]) == 0


def read_json(path: str) -> dict:
    return json.loads(Path(path).read_text(), parse_constant=pytest.fail)  # NaN and Infinity are not JSON


def curves() -> list[dict[str, str]]:
    return read_table(Path("artifacts/train/curves.csv"), "the test")


def assert_nothing_is_left_of(stage: str) -> None:
    assert not Path("artifacts", stage).exists()
    assert not [path for path in Path().rglob("*") if "partial" in path.name]


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
    "function": ("def make() -> Net: return Net()", "", ["--model=mine.make"], "got mine.make, a function"),
    "value": ("three = 3", "", ["--model=mine.three"], "got mine.three, a int"),
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
    "nan": ("", "def __init__(self, a: float = float('nan')): super().__init__()", [], "expected plain values other"),
    "huge": (
        "",
        "def __init__(self, a: int = 10**400): super().__init__()",
        [],
        "expected plain values other than NaN",
    ),
}


@pytest.mark.parametrize("name", NOT_BUILT)
def test_a_class_that_cannot_be_built_is_one_line(name, write, error_of):
    code, model, args, expected = NOT_BUILT[name]
    write(model, code=code)
    for verb in ("fit", "doctor"):
        assert expected in error_of(verb, *arguments(*args))
        sys.modules.pop("mine", None)
    assert not Path("runs").exists()
    assert_nothing_is_left_of("train")


@pytest.mark.parametrize("settings", ["model.yaml", '{"class_path": "mine.Model"}'])
def test_settings_in_place_of_a_class_path_are_read(settings, write):
    write()
    Path("model.yaml").write_text("class_path: mine.Model")
    assert main(["fit", "--trainer.max_epochs=1", f"--model={settings}", "--data=mine.Data", VAL_LOSS]) == 0


def test_a_file_that_another_module_hides_is_named(write, error_of):
    write()
    Path("code.py").write_text("Model = 3")  # the standard library has a module of this name
    assert "it hides code.py, which needs another name" in error_of("fit", *arguments("--model=code.Model"))


STEP = "def training_step(self, batch, batch_idx):\n    loss = super().training_step(batch, batch_idx)\n    "
VALIDATE = "def validation_step(self, batch, batch_idx):\n    super().validation_step(batch, batch_idx)\n    "
OPTIMIZE = "def configure_optimizers(self):\n    optimizer = super().configure_optimizers()\n    return "
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)"
TRAIN = "def train_dataloader(self):\n    "
LINE = "mine.py, line"
# Code that fails in its training: bodies of Model and Data, further arguments, error.
NOT_TRAINED = {
    "setup": ("", "def setup(self, stage): raise OSError('no disk')", [], f"Model fails with OSError: no disk ({LINE}"),
    "missing file": ("", "def setup(self, stage): open('no.csv')", [], "No such file or directory: 'no.csv' (mine.py"),
    "prepare": ("", "def prepare_data(self): raise RuntimeError", [], f"Model fails with RuntimeError ({LINE}"),
    "setup without stage": ("", "def setup(self): pass", [], "Data.setup() got an unexpected keyword argument 'stage'"),
    "step": (f"{STEP}raise KeyError('image')", "", [], f"Model fails with KeyError: 'image' ({LINE}"),
    "second epoch": (f"{STEP}assert self.current_epoch < 1\n    return loss", "", [], "fails with AssertionError"),
    "validation": (f"{VALIDATE}raise IndexError", "", [], f"Model fails with IndexError ({LINE}"),
    "shapes": ("def __init__(self): super().__init__(); self.net = nn.Linear(5, 1)", "", [], "cannot be multiplied"),
    "exits": (f"{STEP}sys.exit(5)", "", [], f"Model fails with SystemExit: 5 ({LINE}"),
    "exits with success": (f"{STEP}sys.exit()", "", [], "Model fails with SystemExit"),
    "attribute": (f"{OPTIMIZE}self.no_such", "", [], "'Model' object has no attribute 'no_such'"),
    "two optimizers": (f"{OPTIMIZE}[optimizer, optimizer]", "", [], "only supported with manual optimization"),
    "a text": (f"{OPTIMIZE}'adam'", "", [], "Unknown configuration for model optimizers"),
    "no parameters": (f"{OPTIMIZE}torch.optim.SGD([], lr=1)", "", [], "optimizer got an empty parameter list"),
    "plateau": (f"{OPTIMIZE}[optimizer], [{PLATEAU}]", "", [], "must include a monitor when a `ReduceLROnPlateau`"),
    "plateau of nothing": (
        f"{OPTIMIZE}{{'optimizer': optimizer, 'lr_scheduler': {{'scheduler': {PLATEAU}, 'monitor': 'no'}}}}",
        "",
        [],
        "conditioned on metric no which is not available",
    ),
    "no training_step": ("training_step = LightningModule.training_step", "", [], "No `training_step()` method"),
    "nan loss": (f"{STEP}return loss * float('nan')", "", [], "expected a finite val_loss in the best epoch; got nan"),
    "dict without loss": (f"{STEP}return {{'los': loss}}", "", [], "the 'loss' key needs to be present"),
    "detached": (f"{STEP}return loss.detach()", "", [], "does not require grad"),
    "float": (f"{STEP}return float(loss)", "", [], "must return a Tensor, a dict, or None"),
    "vector": (f"{STEP}return loss.repeat(3)", "", [], "grad can be implicitly created only for scalar outputs"),
    "logs a vector": (f"{VALIDATE}self.log('v', torch.ones(3))", "", [], "the tensor must have a single element"),
    "logs a text": (f"{VALIDATE}self.log('v', 'x')", "", [], "`str` values cannot be logged"),
    "logs nothing": ("def log(self, *args, **kwargs): pass", "", [], "a score that is logged (none is)"),
    "logs two lines": (f"{VALIDATE}self.log('a\\nb', 1.0)", "", [], "whose names are one line, other than parameters"),
    "logs no name": (f"{VALIDATE}self.log('', 1.0)", "", [], "got ''; rename it"),
    "logs seconds": (f"{VALIDATE}self.log('seconds', 1.0)", "", [], "got 'seconds'; rename it"),
    "another monitor": ("", "", ["--checkpoint.monitor=vall_loss"], "did you mean 'val_loss'?"),
    "infinite": (
        f"{VALIDATE}self.log('v_loss', float('-inf'))",
        "",
        ["--checkpoint.monitor=v_loss"],
        "expected a finite v_loss in the best epoch; got -inf",
    ),
    "not in the first epoch": (
        f"{VALIDATE}if self.current_epoch: self.log('v_loss', 1.0)",
        "",
        ["--checkpoint.monitor=v_loss"],
        "got monitor: v_loss (did you mean 'val_loss'?)",
    ),
    "nan weights": ("def on_train_epoch_end(self): self.net.weight.data.fill_(float('nan'))", "", [], "finite weights"),
    "no train loader": ("", "train_dataloader = LightningDataModule.train_dataloader", [], "must be implemented"),
    "no val loader": ("", "val_dataloader = LightningDataModule.val_dataloader", [], "Data has no val_dataloader"),
    "empty loader": ("", f"{TRAIN}return DataLoader(rows(3), batch_size=8, drop_last=True)", [], "validated epoch"),
    "None as loader": (
        "",
        f"{TRAIN}return None",
        [],
        "An invalid dataloader was returned from `Data.train_dataloader()`",
    ),
    "None in batches": ("", f"{TRAIN}return DataLoader([(torch.ones(4), None)] * 8)", [], "found <class 'NoneType'>"),
    "bad item": (
        "",
        f"{TRAIN}class Bad(Dataset):\n        def __len__(self): return 8\n        def __getitem__(self, index):\n"
        "            raise ValueError('bad file')\n    return DataLoader(Bad())",
        [],
        f"Model fails with ValueError: bad file ({LINE}",
    ),
    "object in extra state": (
        "def get_extra_state(self): return Path('x')",
        "",
        [],
        "expected plain values and tensors",
    ),
    "object in the data's state": ("", "def state_dict(self): return {'p': Path('x')}", [], "got pathlib.PosixPath"),
    "callback": (
        "def configure_callbacks(self): return [Failing()]\n",
        "",
        [],
        f"Model fails with ValueError: callback ({LINE}",
    ),
    "stops by nothing": ("def configure_callbacks(self): return [EarlyStopping('no')]", "", [], "metric `no`"),
}
FAILING = "class Failing(Callback):\n    def on_train_epoch_end(self, *args): raise ValueError('callback')\n"


@pytest.mark.parametrize("name", NOT_TRAINED)
def test_code_that_fails_in_training_is_one_line(name, write, error_of):
    model, data, args, expected = NOT_TRAINED[name]
    write(model, data, code=FAILING)
    assert expected in error_of("fit", "--trainer.max_epochs=2", *arguments(*args))
    assert_nothing_is_left_of("train")


INIT = "def __init__(self, {}):\n    super().__init__()\n    "
# Modules that train, are loaded and scored: bodies of Model and Data, and further arguments.
TRAINED = {
    "plain": ("", "", []),
    "module": (f"{INIT.format('act: nn.Module = nn.ReLU()')}self.act = act", "", []),
    "module set": (f"{INIT.format('act: nn.Module')}self.act = act", "", ["--model.act=torch.nn.GELU"]),
    "untyped": (f"{INIT.format('width')}assert width == 3", "", ["--model.width=3"]),
    "untyped objects": (
        INIT.format("a=nn.ReLU(), b=Path('x'), c=lambda x: x, d=F.relu, e=nn.ReLU")
        + "d(c(a(b and e()(torch.ones(1)))))",
        "",
        [],
    ),
    "path": (f"{INIT.format('p: Path = Path(chr(120))')}assert p == Path('x'), p", "", []),
    "enum": (f"{INIT.format('e: Kind = Kind.A')}assert e is Kind.B", "", ["--model.e=B"]),
    "tuple": (f"{INIT.format('t=(1, 2)')}assert t == (1, 2)", "", []),
    "None": (f"{INIT.format('t: int | None = None')}assert t is None", "", []),
    "class": (f"{INIT.format('t: type[nn.Module] = nn.ReLU')}t()", "", []),
    "tensor": (f"{INIT.format('t=torch.ones(2)')}assert t.sum() == 2", "", []),
    "numpy": (f"{INIT.format('t=np.float32(3)')}assert t == 3", "", []),
    "infinite": (f"{INIT.format('t: float = float(chr(105) + chr(110) + chr(102))')}assert t > 9", "", []),
    "kwargs": (f"{INIT.format('**kwargs')}assert kwargs == {{'width': 3}}", "", ["--model.dict_kwargs.width=3"]),
    "args": (f"{INIT.format('*args')}", "", []),
    "keyword only": (f"{INIT.format('*, width: int = 3')}assert width == 4", "", ["--model.width=4"]),
    "dataclass": (f"{INIT.format('c: Config = Config()')}assert c.width == 4", "", ["--model.c.width=4"]),
    "a class path as text": (f"{INIT.format('name: str')}assert name == 'os.system'", "", ["--model.name=os.system"]),
    "hparams": (f"{INIT.format('width: int = 3')}self.save_hyperparameters(ignore=['width'])", "", []),
    "hparams of objects": (
        "def __init__(self):\n    super().__init__()\n    self.save_hyperparameters({'p': Path('x')})",
        "",
        [],
    ),
    "labels": (f"{INIT.format('labels: list[str] = [chr(97), chr(98)]')}self.labels = labels", "", []),
    "lazy": ("def __init__(self): super().__init__(); self.net = nn.LazyLinear(1)", "", []),
    "configure_model": ("def configure_model(self):\n    self.more = getattr(self, 'more', nn.Linear(4, 4))", "", []),
    "tied": (
        "def __init__(self):\n    super().__init__()\n    self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)\n"
        "    self.b.weight = self.a.weight",
        "",
        [],
    ),
    "counter": (
        "def __init__(self): super().__init__(); self.register_buffer('n', torch.tensor(0))\n"
        f"{STEP}self.n += 1\n    return loss",
        "",
        [],
    ),
    "lock": ("def __init__(self): super().__init__(); self.lock = threading.Lock()", "", []),
    "extra state": ("def get_extra_state(self): return {'a': 1}\ndef set_extra_state(self, state): pass", "", []),
    "no optimizer": (f"{OPTIMIZE}None", "", []),
    "list of optimizers": (f"{OPTIMIZE}[optimizer]", "", []),
    "lbfgs": (f"{OPTIMIZE}torch.optim.LBFGS(self.parameters())", "", []),
    "sometimes None": (f"{STEP}return loss if batch_idx else None", "", []),
    "own callbacks": (
        "def configure_callbacks(self): return [ModelCheckpoint(monitor='val_loss'), EarlyStopping('val_loss')]",
        "",
        [],
    ),
    "dict of loaders": (
        "def training_step(self, batch, batch_idx): return super().training_step(batch['a'], batch_idx)",
        f"{TRAIN}return {{'a': DataLoader(rows(), batch_size=8), 'b': DataLoader(rows(8), batch_size=8)}}",
        [],
    ),
    "combined loader": (
        "def training_step(self, batch, batch_idx): return super().training_step(batch['a'], batch_idx)",
        f"{TRAIN}return CombinedLoader({{'a': DataLoader(rows(), batch_size=8, shuffle=True)}}, 'max_size_cycle')",
        [],
    ),
    "list of batches": ("", f"{TRAIN}return iter([[torch.ones(8, 4), torch.ones(8, 1)]] * 3)", []),
    "generator": ("", f"{TRAIN}return (batch for batch in DataLoader(rows(), batch_size=8))", []),
    "endless": (
        "",
        f"{TRAIN}class Endless(IterableDataset):\n        def __iter__(self):\n            while True:\n"
        "                yield from rows()\n    return DataLoader(Endless(), batch_size=8)",
        ["--trainer.limit_train_batches=3"],
    ),
    "one example": ("", f"{TRAIN}return DataLoader(rows(5), batch_size=1)", []),
    "init changes the folder": (
        "def __init__(self): super().__init__(); os.makedirs('elsewhere', exist_ok=True); os.chdir('elsewhere')",
        "",
        [],
    ),
    "setup changes the folder": ("", "def setup(self, stage): os.makedirs('e', exist_ok=True); os.chdir('e')", []),
    "step changes the folder": (f"{STEP}os.makedirs('e', exist_ok=True); os.chdir('e')\n    return loss", "", []),
}
KINDS = "class Kind(enum.Enum):\n    A = 1\n    B = 2\n\n@dataclasses.dataclass\nclass Config:\n    width: int = 3\n"


@pytest.mark.parametrize("name", TRAINED)
def test_a_module_is_trained_and_scored_from_its_checkpoint_alone(name, write, tmp_path):
    model, data, args = TRAINED[name]
    write(model, data, code=KINDS)
    fit(*args)
    os.chdir(tmp_path)
    assert sorted(path.name for path in Path("artifacts").iterdir()) == ["published", "train"]
    assert main(["test", *arguments(*args)]) == 0
    os.chdir(tmp_path)
    assert main(["evaluate", "--num_resamples=100"]) == 0
    os.chdir(tmp_path)
    module = leyden.load(MODEL)
    x, y = rows().tensors
    with torch.no_grad():
        expected = float((module(x) - y).abs().mean())
    metrics = read_json("artifacts/evaluate/metrics.json")
    assert metrics["error"] == pytest.approx(expected, rel=1e-4)
    assert metrics["test_loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["examples"] == len(x)


def test_a_second_run_publishes_the_same(write):
    write()
    fit()
    first = read_json("artifacts/train/metrics.json")
    fit()
    second = read_json("artifacts/train/metrics.json")
    assert {name: first[name] for name in ("val_loss", "epoch")} == {
        name: second[name] for name in ("val_loss", "epoch")
    }


NAMES = ["a b", "a/b/c", "a\"b'c", "ünï✓", "a,b", "lr=1", "=1+1", "loss", "<b>", "{{x}}", "../x", "| x |", "step_loss"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_logged_value_is_kept(name, write):
    write(f"{VALIDATE}self.log({name!r}, 0.25 + self.current_epoch)")
    fit(f"--checkpoint.monitor={name}", "--checkpoint.mode=min")
    assert read_json("artifacts/train/metrics.json")[name] == 0.25
    assert main(["report"]) == 0
    page = Path("artifacts/report/index.html").read_text()
    assert "<b></b>" not in page and (name != "<b>" or "&lt;b&gt;" in page)


def test_names_of_columns_do_not_replace_what_is_logged(write):
    write(f"{VALIDATE}self.log('learning_rate', 7.0); self.log('epoch', 9.0)")
    fit("--checkpoint.monitor=learning_rate", "--checkpoint.mode=min")
    assert [row["learning_rate"] for row in curves()] == ["7.0", "7.0"]
    assert [row["epoch"] for row in curves()] == ["0", "1"]


def test_an_epoch_without_a_score_has_a_blank_and_is_not_compared(write):
    write(f"{VALIDATE}if self.current_epoch % 2 == 0: self.log('v_loss', 5.0 - self.current_epoch)")
    fit("--checkpoint.monitor=v_loss", "--trainer.max_epochs=4")
    assert [row["v_loss"] for row in curves()] == ["5.0", "", "3.0", ""]
    metrics = read_json("artifacts/train/metrics.json")
    assert (metrics["epoch"], metrics["v_loss"]) == (2, 3.0)


def test_epochs_without_validation_have_no_score_of_an_earlier_one(write):
    write()
    fit("--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=5")
    assert [bool(row["val_loss"]) for row in curves()] == [False, True, False, True, False]
    assert read_json("artifacts/train/metrics.json")["epoch"] == 3


def test_scores_that_are_not_finite_are_left_out_of_the_metrics(write, capsys):
    write(
        f"{VALIDATE}self.log('v', float('nan'))\n"
        "def test_step(self, batch, batch_idx): self.log('v', float('nan')); self.log('w', 2.0)"
    )
    fit()
    assert "v" not in read_json("artifacts/train/metrics.json")
    assert main(["evaluate"]) == 0
    assert "left out, as they are NaN or infinite: v" in capsys.readouterr().out
    assert read_json("artifacts/evaluate/metrics.json") == {"w": 2.0, "confidence_level": 0.95}


TEST = "def test_step(self, batch, batch_idx, dataloader_idx=0):\n    error = self.errors(batch)\n    "
TWO_LOADERS = "def {}(self): return [DataLoader(rows(), batch_size=8), DataLoader(rows(8), batch_size=8)]"
EMPTY = "def test_dataloader(self): return DataLoader(rows(3), batch_size=8, drop_last=True)"
# What `leyden evaluate` cannot score: bodies of Model and Data, error.
NOT_EVALUATED = {
    "nothing": (f"{TEST}pass", "", "expected scores that Model.test_step logs, or values of examples"),
    "of a batch": (
        f"{TEST}return {{'error': error.mean()[None]}}",
        "",
        "a value for each example; got {'error': (1,)}",
    ),
    "of some examples": (f"{TEST}return {{'error': error[:2]}}", "", "a value for each example; got {'error': (2,)}"),
    "names that vary": (f"{TEST}return {{str(batch_idx): error}}", "", "the same names in each batch"),
    "nan": (
        f"{TEST}return {{'error': error * float('nan')}}",
        "",
        "expected finite test scores; got NaN or infinity as",
    ),
    "low": (f"{TEST}return {{'error': error, 'error_low': error}}", "", "test_step logs or returns error_low; rename"),
    "examples": (f"{TEST}return {{'examples': error}}", "", "test_step logs or returns examples; rename them"),
    "level": (f"{TEST}self.log('confidence_level', 1.0)", "", "test_step logs or returns confidence_level; rename"),
    "complex": (f"{TEST}return {{'error': error + 1j}}", "", "expected scores that Model.test_step logs, or values"),
    "raises": (f"{TEST}raise IndexError('t')", "", f"Model fails with IndexError: t ({LINE}"),
    "exits": (f"{TEST}sys.exit(0)", "", f"Model fails with SystemExit: 0 ({LINE}"),
    "no test_step": ("test_step = LightningModule.test_step", "", "expected a test_step, whose scores are recorded"),
    "no test loader": ("", "test_dataloader = LightningDataModule.test_dataloader", "must be implemented"),
    "two loaders": (
        f"{TEST}return {{'error': error}}",
        TWO_LOADERS.format("test_dataloader"),
        "expected one test loader",
    ),
    "empty loader": ("", EMPTY, "expected test batches of Data; got none"),
}


@pytest.mark.parametrize("name", NOT_EVALUATED)
def test_what_cannot_be_evaluated_is_one_line(name, write, error_of):
    model, data, expected = NOT_EVALUATED[name]
    write(model, data)
    fit()
    assert expected in error_of("evaluate", "--num_resamples=100")
    assert_nothing_is_left_of("evaluate")


@pytest.mark.parametrize("value", ["error.numpy()", "error.double()", "error.bfloat16()", "error.detach()"])
def test_values_of_examples_of_any_type_are_scored(value, write):
    write(f"{TEST}return {{'error': {value}, 'name': ['a'] * len(error), 'loss': error.mean()}}")
    fit()
    assert main(["evaluate", "--num_resamples=100"]) == 0
    metrics = read_json("artifacts/evaluate/metrics.json")
    rows = read_table(Path("artifacts/evaluate/predictions.csv"), "the test")
    assert metrics["examples"] == len(rows) == 24
    assert metrics["error"] == pytest.approx(np.mean([float(row["error"]) for row in rows]), rel=1e-4)
    assert list(rows[0]) == ["example", "error"]


def test_a_single_test_example_has_a_score_without_interval(write):
    write("", "def test_dataloader(self): return DataLoader(rows(1))")
    fit()
    assert main(["evaluate"]) == 0
    metrics = read_json("artifacts/evaluate/metrics.json")
    assert metrics["error"] == pytest.approx(metrics["test_loss"]) and "error_low" not in metrics


def test_a_test_step_that_draws_random_numbers_scores_the_same_again(write):
    write(f"{TEST}return {{'error': torch.rand(len(error))}}")
    fit()
    scores = []
    for _ in range(2):
        assert main(["evaluate", "--num_resamples=100"]) == 0
        scores.append(read_json("artifacts/evaluate/metrics.json")["error"])
    assert scores[0] == scores[1]


PREDICT = "def predict_step(self, batch, batch_idx, dataloader_idx=0):\n    y = self(batch[0])\n    return "
ROWS = "with a row for each example; got"
NOT_PREDICTED = {
    "nothing": ("None", "", f"{ROWS} NoneType"),
    "a number": ("y.mean()", "", f"{ROWS} ()"),
    "one for a batch": ("y.mean()[None]", "", f"{ROWS} (1,)"),
    "some examples": ("y[:2]", "", f"{ROWS} (2, 1)"),
    "texts": ("['a'] * len(y)", "", f"{ROWS} str"),
    "sparse": ("y.to_sparse()", "", f"{ROWS} Tensor"),
    "nested": ("{'a': {'b': y}}", "", f"{ROWS} dict"),
    "array": ("y.numpy()", "", f"{ROWS} ndarray"),
    "sizes that vary": ("y.repeat(1, batch_idx + 1)", "", "expected batches with the same outputs"),
    "images": ("y[:, :, None, None].repeat(1, 1, 2, 2)", "", "write arrays with --out=predictions.npz"),
    "a column twice": ("{'a': y, 'a_0': y[:, 0]}", "", "expected columns of different names; got a_0 twice"),
    "the first column": ("{'example': y[:, 0]}", "", "got example twice"),
    "raises": ("1 / 0", "", f"Model fails with ZeroDivisionError: division by zero ({LINE}"),
    "two loaders": (
        "y",
        TWO_LOADERS.format("predict_dataloader"),
        "expected one loader to predict; Data returns several",
    ),
    "two test loaders": ("y", TWO_LOADERS.format("test_dataloader"), "expected one loader from Data.test_dataloader"),
    "no loader": ("y", "test_dataloader = LightningDataModule.test_dataloader", "expected a data module with a test_d"),
    "no examples": ("y", "def predict_dataloader(self): return DataLoader([])", "the loader returns no batch"),
}


@pytest.mark.parametrize("name", NOT_PREDICTED)
def test_what_cannot_be_predicted_is_one_line(name, write, error_of):
    result, data, expected = NOT_PREDICTED[name]
    write(PREDICT + result, data)
    fit()
    assert expected in error_of("predict", str(MODEL))
    assert not Path("predictions.csv").exists()


def test_integers_and_truth_values_are_written_in_full(write):
    write(f"{PREDICT}{{'id': torch.arange(len(y)) + 123456789, 'is_high': y[:, 0] > 9, 'half': y[:, 0].bfloat16()}}")
    fit()
    assert main(["predict", str(MODEL)]) == 0
    first = read_table(Path("predictions.csv"), "the test")[0]
    assert (first["id"], first["is_high"]) == ("123456789", "0")


def test_arrays_keep_their_precision(write):
    write(f"{PREDICT}y.double() / 3")
    fit()
    assert main(["predict", str(MODEL), "--out=predictions.npz"]) == 0
    with np.load("predictions.npz") as arrays:
        assert arrays["prediction"].dtype == np.float64


def test_shuffled_test_examples_are_told(write, capsys):
    write("", "def test_dataloader(self): return DataLoader(rows(), batch_size=8, shuffle=True)")
    fit()
    for args in (["evaluate", "--num_resamples=100"], ["predict", str(MODEL)]):
        assert main(args) == 0
        assert f"{args[0]}: warning: the loader shuffles" in capsys.readouterr().err


HOOK = """
def on_after_batch_transfer(self, batch, dataloader_idx):
    if not (self.trainer.testing or self.trainer.predicting):
        return batch
    return [batch[0] * 10, batch[1]]
"""


@pytest.mark.parametrize("owner", ["model", "data"])
def test_hooks_that_change_batches_apply_in_every_stage(owner, write):
    write(**{owner: HOOK})
    fit()
    x = torch.cat([batch[0] for batch in __import__("mine").Data().test_dataloader()]) * 10
    with torch.no_grad():
        expected = leyden.load(MODEL)(x)[:, 0].numpy()
    assert main(["predict", str(MODEL)]) == 0
    rows = read_table(Path("predictions.csv"), "the test")
    assert np.allclose([float(row["prediction_0"]) for row in rows], expected, rtol=1e-4, atol=1e-4)
    assert main(["explain", "--methods=[saliency]", "--num_shown=2", "--num_evidence=4"]) == 0
    with np.load("artifacts/explain/maps/maps.npz") as arrays:
        assert np.allclose(arrays["input_0"], x[arrays["rows"]], atol=1e-4)


FORWARD = (
    "def forward(self, x):\n    y = self.net(x)\n    if self.training or self._trainer and self.trainer.validating:\n"
)
FORWARD += "        return y\n    return "
NOT_EXPLAINED = {
    "nan": (
        "y * float('nan')",
        "",
        "expected finite numbers to explain; those of Model are NaN or infinite for 24 of 24",
    ),
    "complex": ("torch.complex(y, y)", "", "Model.forward returns (10,) of complex numbers; add a method"),
    "some examples": ("y[:3]", "", "Model returns 3 for a batch of 10; add a method explained_scalar"),
    "scalar": ("y.mean()", "", "Model.forward returns (); add a method explained_scalar"),
    "dict": ("{'a': y}", "", "Model.forward returns dict; add a method explained_scalar"),
    "raises": ("1 / 0", "", f"it fails with ZeroDivisionError: division by zero ({LINE}"),
    "empty loader": ("y", EMPTY, "expected batches of the loader of Data; got none"),
    "two loaders": ("y", TWO_LOADERS.format("test_dataloader"), "expected one loader from Data.test_dataloader"),
}


@pytest.mark.parametrize("name", NOT_EXPLAINED)
def test_what_cannot_be_explained_is_one_line(name, write, error_of):
    result, data, expected = NOT_EXPLAINED[name]
    write(FORWARD + result, data)
    fit()
    assert expected in error_of("explain", "--methods=[saliency]")
    assert_nothing_is_left_of("explain")


NOT_EXPORTED = {
    "nothing": (
        "None",
        "",
        "",
        "expected Model.forward to return a tensor, or a tuple or dict of tensors; got NoneType",
    ),
    "nan": ("y * float('nan')", "", "", "expected finite outputs of Model.forward; output_0 has NaN or infinity"),
    "raises": ("1 / 0", "", "", f"it fails with ZeroDivisionError: division by zero ({LINE}"),
    "sparse": ("y.to_sparse()", "", "", "expected dense outputs of Model.forward; output_0 is sparse"),
    "some examples": ("y[y[:, 0] > 0]", "", "", "as for others; got"),
    "example of another shape": ("y", "torch.ones(2, 7)", "", "set example_input_array to what it takes"),
    "example of text": ("y", "'x'", "", "got no such tensor; set example_input_array"),
    "example of another name": ("y", "{'z': torch.ones(2, 4)}", "", "got an unexpected keyword argument 'z'"),
    "empty loader": ("y", "None", EMPTY, "expected batches of the loader of Data; got none"),
    "two loaders": (
        "y",
        "None",
        TWO_LOADERS.format("test_dataloader"),
        "expected one loader from Data.test_dataloader",
    ),
}


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_what_cannot_be_exported_is_one_line(name, write, error_of):
    result, example, data, expected = NOT_EXPORTED[name]
    init = f"def __init__(self): super().__init__(); self.example_input_array = {example or None}\n"
    write(init + FORWARD + result, data)
    fit()
    assert expected in error_of("export", TWO_FORMATS)
    assert_nothing_is_left_of("export")


def test_imaginary_parts_are_compared():
    expected, got = ([[torch.tensor([1.0 + part * 1j])]] for part in (2, 3))
    assert compare(expected, got)["max_abs_diff"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "result",
    [
        "{'a': y, 'b': {'c': y, 'd': 3}}",
        "[y, y]",
        "y.mean()",
        "(y > 0).long()",
        "y > 0",
        "y[:, :0]",
        "y.double()",
        "torch.from_numpy(np.sin(y.detach().numpy()))",
    ],
)
def test_outputs_of_any_type_are_exported_as_they_are_or_skipped_with_a_reason(result, write):
    write(FORWARD + result)
    fit()
    assert main(["export", TWO_FORMATS]) == 0
    rows = json.loads(Path("artifacts/export/report.json").read_text())
    assert {row["status"] for row in rows} <= {"checked", "skipped"}
    assert all(row["reason"] for row in rows if row["status"] == "skipped")


@pytest.mark.slow
def test_what_no_format_expresses_is_skipped_with_a_reason(write):
    write(FORWARD + "y if y.sum() > 0 else -y")
    fit()
    assert main(["export", TWO_FORMATS]) == 0
    rows = json.loads(Path("artifacts/export/report.json").read_text())
    assert [row["status"] for row in rows] == ["skipped", "skipped", "checked"]


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
def test_code_that_was_changed_after_its_training_is_one_line(name, write):
    body, expected = CHANGES[name]
    write()
    fit()
    sys.modules.pop("mine")
    write(body or "")
    if body is None:
        Path("mine.py").write_text(Path("mine.py").read_text().replace("class Model", "class Renamed"))
    with pytest.raises(UserError, match="use the code that trained it, or train it again") as caught:
        leyden.load(MODEL)
    assert expected in str(caught.value)


def test_a_module_that_cannot_be_copied_is_one_line_of_the_doctor(write, error_of):
    write("def __init__(self): super().__init__(); self.lock = threading.Lock()")
    assert "expected a module that can be copied" in error_of("doctor", *arguments())


@pytest.mark.parametrize("verb", ["fit", "tune", "test", "evaluate", "predict"])
def test_ctrl_c_is_told_from_other_ends(verb, write, capsys):
    write("def on_train_start(self): pass")
    fit()
    sys.modules.pop("mine")
    steps = ("training_step", "test_step", "predict_step")
    write("\n".join(f"def {step}(self, batch, batch_idx): raise KeyboardInterrupt" for step in steps))
    handler = signal.getsignal(signal.SIGINT)
    args = [str(MODEL)] if verb == "predict" else [] if verb == "evaluate" else arguments("--seed_everything=1")
    assert main([verb, *args]) == 130
    signal.signal(signal.SIGINT, handler)
    assert f"leyden {verb}: interrupted" in capsys.readouterr().err


def test_creating_the_data_module_creates_no_loader(write):
    write("", f"{TRAIN}Path('created').touch()\n    return super().train_dataloader()")
    LeydenCLI.parse("fit", arguments())
    assert not Path("created").exists()


def test_lengths_of_a_batch_are_those_of_its_examples():
    x, y = torch.zeros(5, 3), torch.zeros(5)
    assert find_lengths([x, y]) == find_lengths({"x": x, "y": y}) == find_lengths([x, {"y": y}]) - {2} == {5}
    assert find_lengths([[torch.zeros(3, 4), torch.zeros(3, 5)], ["a", "b"]]) == {3, 2}
    assert find_lengths(torch.tensor(1.0)) == find_lengths("text") == set()


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
