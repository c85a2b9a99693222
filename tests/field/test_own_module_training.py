"""Modules as strangers write them train with true scores, or one line says what to do."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

import leyden
from leyden.cli import main
from tests.field.own_module_parts import rows
from tests.field.own_module_runs import (
    LINE,
    MODEL,
    STEP,
    TRAIN,
    VALIDATE,
    arguments,
    assert_nothing_is_left_of,
    curves,
    fit,
    read_json,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of the users' code, which is not ours to change

OPTIMIZE = "def configure_optimizers(self):\n    optimizer = super().configure_optimizers()\n    return "
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)"


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
def test_code_that_fails_in_training_is_one_line(name, write_mine, error_of):
    model, data, args, expected = NOT_TRAINED[name]
    write_mine(model, data, code=FAILING)
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
def test_a_module_is_trained_and_scored_from_its_checkpoint_alone(name, write_mine, tmp_path):
    model, data, args = TRAINED[name]
    write_mine(model, data, code=KINDS)
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


def test_a_second_run_publishes_the_same(write_mine):
    write_mine()
    fit()
    first = read_json("artifacts/train/metrics.json")
    fit()
    second = read_json("artifacts/train/metrics.json")
    assert {name: first[name] for name in ("val_loss", "epoch")} == {
        name: second[name] for name in ("val_loss", "epoch")
    }


NAMES = ["a b", "a/b/c", "a\"b'c", "ünï✓", "a,b", "lr=1", "=1+1", "loss", "<b>", "{{x}}", "../x", "| x |", "step_loss"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_logged_value_is_kept(name, write_mine):
    write_mine(f"{VALIDATE}self.log({name!r}, 0.25 + self.current_epoch)")
    fit(f"--checkpoint.monitor={name}", "--checkpoint.mode=min")
    assert read_json("artifacts/train/metrics.json")[name] == 0.25
    assert main(["report"]) == 0
    page = Path("artifacts/report/index.html").read_text()
    assert "<b></b>" not in page and (name != "<b>" or "&lt;b&gt;" in page)


def test_names_of_columns_do_not_replace_what_is_logged(write_mine):
    write_mine(f"{VALIDATE}self.log('learning_rate', 7.0); self.log('epoch', 9.0)")
    fit("--checkpoint.monitor=learning_rate", "--checkpoint.mode=min")
    assert [row["learning_rate"] for row in curves()] == ["7.0", "7.0"]
    assert [row["epoch"] for row in curves()] == ["0", "1"]


def test_an_epoch_without_a_score_has_a_blank_and_is_not_compared(write_mine):
    write_mine(f"{VALIDATE}if self.current_epoch % 2 == 0: self.log('v_loss', 5.0 - self.current_epoch)")
    fit("--checkpoint.monitor=v_loss", "--trainer.max_epochs=4")
    assert [row["v_loss"] for row in curves()] == ["5.0", "", "3.0", ""]
    metrics = read_json("artifacts/train/metrics.json")
    assert (metrics["epoch"], metrics["v_loss"]) == (2, 3.0)


def test_epochs_without_validation_have_no_score_of_an_earlier_one(write_mine):
    write_mine()
    fit("--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=5")
    assert [bool(row["val_loss"]) for row in curves()] == [False, True, False, True, False]
    assert read_json("artifacts/train/metrics.json")["epoch"] == 3


def test_scores_that_are_not_finite_are_left_out_of_the_metrics(write_mine, capsys):
    write_mine(
        f"{VALIDATE}self.log('v', float('nan'))\n"
        "def test_step(self, batch, batch_idx): self.log('v', float('nan')); self.log('w', 2.0)"
    )
    fit()
    assert "v" not in read_json("artifacts/train/metrics.json")
    assert main(["evaluate"]) == 0
    assert "left out, as they are NaN or infinite: v" in capsys.readouterr().out
    assert read_json("artifacts/evaluate/metrics.json") == {"w": 2.0, "confidence_level": 0.95}


def test_a_module_that_cannot_be_copied_is_one_line_of_the_doctor(write_mine, error_of):
    write_mine("def __init__(self): super().__init__(); self.lock = threading.Lock()")
    assert "expected a module that can be copied" in error_of("doctor", *arguments())


@pytest.mark.parametrize("verb", ["fit", "tune", "test", "evaluate", "predict"])
def test_ctrl_c_is_told_from_other_ends(verb, write_mine, capsys):
    write_mine("def on_train_start(self): pass")
    fit()
    sys.modules.pop("mine")
    steps = ("training_step", "test_step", "predict_step")
    write_mine("\n".join(f"def {step}(self, batch, batch_idx): raise KeyboardInterrupt" for step in steps))
    handler = signal.getsignal(signal.SIGINT)
    args = [str(MODEL)] if verb == "predict" else [] if verb == "evaluate" else arguments("--seed_everything=1")
    assert main([verb, *args]) == 130
    signal.signal(signal.SIGINT, handler)
    assert f"leyden {verb}: interrupted" in capsys.readouterr().err
