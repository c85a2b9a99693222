"""Wrong settings and config files: each ends in exit code 2 and one line; nothing is written."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.cli import main
from leyden.yaml_files import MAX_BYTES, load_yaml
from tests.conftest import REPO

MODEL, DATA, AUGMENT = "--model.init_args", "--data.init_args", "--data.init_args.augment"
AVERAGING = "--trainer.callbacks+=leyden.training.averaging.TailAveraging --trainer.callbacks.start_fraction"
QUANTIZATION = "--trainer.callbacks+=leyden.training.fake_quantization.FakeQuantization --trainer.callbacks.decay"
LR = f"{MODEL}.optimizer.init_args.lr"

TRAINING = [
    (f"{LR}=-1", "Invalid learning rate: -1"),
    (f"{LR}=0", "model.optimizer.lr must lie in (0, 1000]; got 0"),
    (f"{LR}=.nan", "nan"),
    (f"{LR}=1e9", "model.optimizer.lr must lie in (0, 1000]; got 1000000000"),
    (f"{MODEL}.optimizer.init_args.weight_decay=-1", "Invalid weight_decay value: -1"),
    (f"{MODEL}.optimizer=torch.optim.LBFGS", "set model.execution.channels_last: false"),
    (f"{MODEL}.optimizer=torch.optim.SparseAdam", "expected an optimizer for dense gradients"),
    (f"{MODEL}.optimizer=os.system", "model.optimizer"),
    (f"{MODEL}.schedule.warmup_fraction=1.5", "model.schedule.warmup_fraction must lie in [0, 1); got 1.5"),
    (f"{MODEL}.schedule.warmup=0.3", "did you mean 'warmup_fraction'?"),
    (f"{MODEL}.label_smoothing=2", "model.label_smoothing must lie in [0, 1); got 2"),
    (f"{MODEL}.mixing.mixup_alpha=-1", "model.mixing.mixup_alpha must lie in [0, inf); got -1"),
    (f"{MODEL}.adversarial_epsilon=.nan", "model.adversarial_epsilon must lie in [0, 1]; got nan"),
    (f"{DATA}.batch_size=0", "data.batch_size must lie in [1, "),
    (f"{DATA}.batch_size=1000000000000", "data.batch_size must lie in [1, "),
    (f"{DATA}.batch_size=null", "got null"),
    (f"{DATA}.num_workers=-1", "data.num_workers must lie in [0, "),
    (f"{DATA}.num_workers=1000000", "data.num_workers must lie in [0, "),
    (f"{AUGMENT}.cutout_fraction=9", "data.augment.cutout_fraction must lie in [0, 1]; got 9"),
    (f"{AUGMENT}.colour_jitter=-1", "data.augment.colour_jitter must lie in [0, 1); got -1"),
    (f"{AUGMENT}.crop_padding_fraction=-1", "data.augment.crop_padding_fraction must lie in [0, 1]; got -1"),
    (f"{AUGMENT}.resized_crop=[0.5,0.2]", "data.augment.resized_crop must lie in [0.5, 1]; got 0.2"),
    (f"{AUGMENT}.resized_crop=[.nan,1]", "resized_crop"),
    (f"{AUGMENT}.resized_crop=[1,2,3]", "expected tuple with 2 elements; got [1, 2, 3]"),
    (f"--seed_everything={2**70}", "seed_everything must lie in [0, 4294967295]"),
    ("--seed_everything=-1", "seed_everything must lie in [0, 4294967295]; got -1"),
    ("--seed_everything=true", "seed_everything must lie in [0, 4294967295]; got True"),
    ("--trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must lie in [1, 1000000]; got 0"),
    (f"--trainer.accumulate_grad_batches={10**25}", "trainer.accumulate_grad_batches must lie in [1, 1000000]"),
    (f"--trainer.num_nodes={10**25}", "trainer.num_nodes must lie in [1, 1000000]"),
    ("--trainer.max_epochs=0", "trainer.max_epochs must lie in [1, inf); got 0"),
    ("--trainer.max_epochs=-5", "trainer.max_epochs must lie in [1, inf); got -5"),
    ("--trainer.val_check_interval=0", "trainer.val_check_interval must lie in (0, inf); got 0"),
    ("--trainer.limit_val_batches=0", "got trainer.limit_val_batches: 0"),
    ("--trainer.min_epochs=-1", "trainer.min_epochs must lie in [0, 20]; got -1"),
    ("--trainer.min_epochs=99", "trainer.min_epochs must lie in [0, 20]; got 99"),
    ("--trainer.default_root_dir=elsewhere", "expected no trainer.default_root_dir, since a training writes to runs/"),
    ("--trainer.num_sanity_val_steps=-5", "trainer.num_sanity_val_steps must lie in [-1, inf); got -5"),
    ("--trainer.strategy=dp", "DistributedDataParallel replaced DataParallel; use -c configs/trainer/ddp.yaml"),
    ("--trainer.strategy=ddp_spawn", "expected a strategy whose processes are started by popen"),
    ("--trainer.strategy=ddp_fork_find_unused_parameters_true", "expected a strategy whose processes are started by"),
    ("--checkpoint.monitor=val/accuraci", "got monitor: val/accuraci (did you mean 'val/accuracy'?)"),
    ("--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor=nonsense", "got monitor: nonsense"),
    (f"{MODEL}.network.class_path=leyden.models.FastCNN", "expected no --model.init_args.network, which network sets"),
    (f"{MODEL}.labels=[a]", "expected no --model.init_args.labels, which the data sets; leave it out"),
    (f"{DATA}.seed=3", "expected no --data.init_args.seed, which seed_everything sets"),
    ("--network.dict_kwargs.foo=3", "expected an argument of leyden.models.ResNet; got 'foo'"),
    ("--trainer.accelerator=tpu", "expected the package torch_xla"),
    ("--trainer.devices=99", "expected at most"),
    ("--trainer.precision=nonsense", "bf16-mixed"),
    ("--trainer.max_epoch=3", "did you mean 'max_epochs'?"),
    ("--trainer.callbacks+=os.system", "trainer.callbacks"),
    (f"{AVERAGING}=.nan", "trainer.callbacks.start_fraction must lie in [0, 1); got nan"),
    (f"{AVERAGING}=-1", "trainer.callbacks.start_fraction must lie in [0, 1); got -1"),
    (f"{QUANTIZATION}=2", "trainer.callbacks.decay must lie in [0, 1); got 2"),
    ("--resume.every_steps=-1", "resume.every_steps must lie in [1, inf); got -1"),
    ("--network=os.system", "network"),
    ("--network.class_path=null", "network: expected package.module.Name as class_path; got None"),
    ("--data.class_path=.inf", "data: expected package.module.Name as class_path; got .inf"),
    ("--network.init_args.width=-1", "expected arguments that fit leyden.models.ResNet; it cannot be built"),
    ("--network=leyden.models.PatchTransformer --network.init_args.heads=0", "it cannot be built: integer modulo by"),
    ("--trainer.max_epochs=", "trainer.max_epochs: expected int; got nothing"),
    ("--network.class_path=3", "network"),
]


def list_files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if "__pycache__" not in path.parts)


def run(capsys: pytest.CaptureFixture[str], args: list[str]) -> str:
    """Run a verb; assert a user error and that it leaves no file; return its line."""
    before = list_files()
    capsys.readouterr()
    assert main(args) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("leyden ")]
    assert len(lines) == 1, err
    assert list_files() == before
    return lines[0]


@pytest.mark.parametrize(("option", "expected"), TRAINING, ids=[option for option, _ in TRAINING])
def test_settings_of_a_training(workspace, capsys, option, expected):
    assert expected in run(capsys, ["fit", *option.split()])


OTHERS = [
    ("prepare --image_size=[0,0]", "prepare.image_size must lie in [1, 16384]; got 0; set it in configs/prepare.yaml"),
    ("prepare --image_size=[-8,8]", "prepare.image_size must lie in [1, 16384]; got -8"),
    ("prepare --image_size=[8,8,8]", "image_size: expected tuple with 2 elements; got [8, 8, 8]"),
    ("prepare --image_size=[1000000,1000000]", "prepare.image_size must lie in [1, 16384]; got 1000000"),
    ("prepare --max_image_size=0", "prepare.max_image_size must lie in"),
    ("prepare --val_fraction=.nan", "prepare.val_fraction must lie in (0, 1); got nan"),
    ("prepare --crop_margin=1e9", "prepare.crop_margin must lie in"),
    ("prepare --max_rejected_fraction=.nan", "prepare.max_rejected_fraction must lie in [0, 1]; got nan"),
    ("prepare --max_pixels=-1", "prepare.max_pixels must lie in [1, inf); got -1"),
    ("prepare --seed=-1", "prepare.seed must lie in"),
    ("prepare --num_workers=1000000", "prepare.num_workers must lie in"),
    ("prepare --shard_mb=.nan", "prepare.shard_mb must lie in"),
    ("prepare --storage=nonsense", "storage: expected auto, pixels, jpeg; got nonsense"),
    ("evaluate --top_k=0", "evaluate.top_k must lie in [1, inf); got 0; set it in configs/evaluate.yaml"),
    ("evaluate --batch_size=0", "evaluate.batch_size must lie in [1, inf); got 0"),
    ("evaluate --num_resamples=0", "evaluate.num_resamples must lie in"),
    ("evaluate --num_resamples=1000000000000", "evaluate.num_resamples must lie in"),
    ("evaluate --confidence_level=2", "evaluate.confidence_level must lie in (0, 1); got 2"),
    ("evaluate --abstain_precision=.nan", "evaluate.abstain_precision must lie in (0, 1]; got nan"),
    ("evaluate --seed=-1", "evaluate.seed must lie in"),
    ('evaluate --require={"accuracy":.nan}', "require"),
    (
        "predict artifacts/train/model.ckpt data --top_k=0",
        "predict.top_k must lie in [1, inf); got 0; set it with --top",
    ),
    ("predict artifacts/train/model.ckpt data --batch_size=0", "predict.batch_size must lie in [1, inf); got 0"),
    ("export --formats={}", "expected a format with a precision; got formats: {}"),
    ('export --formats={"onnx":[]}', "expected a format with a precision; got formats: {'onnx': []}"),
    ("explain --methods=[]", "expected methods, each once; got []; set them in configs/explain.yaml"),
    ("explain --methods=[saliency,saliency]", "expected methods, each once"),
    ("export --num_examples=0", "export.num_examples must lie in [1, inf); got 0"),
    (
        "export --tolerance.fp32.max_relative_diff=-1",
        "export.tolerance.fp32.max_relative_diff must lie in [0, inf); got -1",
    ),
    ("explain --num_deletion_steps=1000000000000000000000000", "num_deletion_steps must lie in [1, 10000]"),
    ("explain --num_channels=", "num_channels: expected int; got nothing"),
    ("prepare --allow_leakage=true", "expected no value of --allow_leakage, which alone means true; got 'true'"),
    (f"prepare --out={'x/' * 1500}", "expected a path of at most 200 folders"),
    ("explain --num_shown=0", "explain.num_shown must lie in [1, inf); got 0"),
    ("explain --num_evidence=-1", "explain.num_evidence must lie in [1, inf); got -1"),
    ("report --num_errors=0", "report.num_errors must lie in [1, inf); got 0"),
]


@pytest.mark.parametrize(("command", "expected"), OTHERS, ids=[command for command, _ in OTHERS])
def test_settings_of_the_other_verbs(workspace, capsys, command, expected):
    (workspace / "data").mkdir()
    assert expected in run(capsys, command.split())


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
CONFIGS = [
    ("empty", "", "as `key: value`; got an empty file"),
    ("comment", "# nothing\n", "got an empty file"),
    ("list", "- a\n", "got a list"),
    ("text", "hello\n", "got a single value"),
    ("binary", b"\x00\x01\xff\xfe", "expected UTF-8 text in"),
    ("latin-1", b"# caf\xe9\n", "expected UTF-8 text in"),
    ("tabs", "trainer:\n\tmax_epochs: 3\n", "in line 2 (indent with spaces, not with tabs)"),
    ("unclosed", "trainer: {max_epochs: 1\n", "did not find expected ',' or '}', in line 2"),
    ("documents", "trainer: {}\n---\ntrainer: {}\n", "found another document, in line 2"),
    ("python", "trainer: !!python/object/apply:os.system ['true']\n", "a value of the type !!python/object"),
    ("key twice", "trainer: {}\nmodel: {}\ntrainer: {}\n", "the key 'trainer' twice, in lines 1 and 3"),
    ("nested key twice", "trainer: {max_epochs: 1, max_epochs: 2}\n", "the key 'max_epochs' twice"),
    ("key of a list", "? [a]\n: 1\n", "a key that is not text"),
    ("cyclic", "trainer: &a {max_epochs: 3, x: *a}\n", "an alias of a value that contains it, in line 1"),
    ("exploding", LAUGHS, "more than 100,000 values once its aliases are expanded"),
    ("deep", "trainer: " + "[" * 20_000, "more than 100 levels of lists or mappings"),
    ("large", "# " + "x" * MAX_BYTES, "expected a config file of at most 1 MB"),
    ("two sections", "trainr: {}\nmodle: {}\n", "'trainr' (did you mean 'trainer'?), 'modle' (did you mean 'model'?)"),
    ("null section", "trainer: null\n", "expected settings below trainer in"),
    ("null class", "model: {class_path: null}\n", "expected package.module.Name as class_path"),
    (
        "labels yes and no",
        "model: {init_args: {class_weights: {yes: 1, no: 2, 007: 3, 1.0: 4, 2024-01-01: 5}}}\n",
        "got 007, 1.0, 2024-01-01, no, yes;",
    ),
    (
        "leftover",
        "network: {class_path: leyden.models.FastCNN, init_args: {depths: [1]}}\n",
        "unknown key 'depths': leyden.models.FastCNN has no such argument; remove it if it was another class's",
    ),
    (
        "linked key",
        "model: {init_args: {labels: [a]}}\n",
        "expected no model.init_args.labels in wrong.yaml, which the",
    ),
    (
        "transform that is called",
        "data: {init_args: {augment: {transforms: [{class_path: os.system, init_args: {command: touch called}}]}}}\n",
        "expected a class of transforms, whose instances are called; 'os.system' is not one",
    ),
    (
        "transform that is a process",
        "data: {init_args: {augment: {transforms: [{class_path: subprocess.Popen, init_args: {args: [touch, a]}}]}}}\n",
        "'subprocess.Popen' is not one",
    ),
    ("transform without a class", "data: {init_args: {augment: {transforms: [{}]}}}\n", "expected class_path and init"),
    (
        "transform's argument",
        "data: {init_args: {augment: {transforms: [{class_path: torchvision.transforms.v2.RandAugment, init_args: "
        "{nonsense: 1}}]}}}\n",
        "unexpected keyword argument 'nonsense'",
    ),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CONFIGS], ids=[case[0] for case in CONFIGS])
def test_a_config_file(workspace, capsys, text, expected):
    Path("wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert expected in run(capsys, ["fit", "-c", "configs/train.yaml", "-c", "wrong.yaml"])


@pytest.mark.parametrize("text", ["val_fraction: 0.1\nval_fraction: 0.2\n", "shards: &a [*a]\n", LAUGHS])
def test_a_config_file_of_another_verb(workspace, capsys, text):
    Path("wrong.yaml").write_text(text)
    assert "expected valid YAML in wrong.yaml" in run(capsys, ["prepare", "-c", "wrong.yaml"])


def test_a_file_that_a_config_names(workspace, capsys):
    Path("network.yaml").write_text("class_path: leyden.models.ResNet\ninit_args: &a {width: *a}\n")
    Path("wrong.yaml").write_text("network: network.yaml\n")
    line = run(capsys, ["fit", "-c", "configs/train.yaml", "-c", "wrong.yaml"])
    assert "expected valid YAML in network.yaml; got: an alias of a value that contains it" in line


@pytest.mark.parametrize(
    ("path", "expected"),
    [("configs", "got a folder: configs"), ("nowhere.yaml", "No such file"), ("/dev/zero", "got a device or pipe")],
)
def test_a_path_that_is_no_config_file(workspace, capsys, path, expected):
    assert expected in run(capsys, ["fit", "-c", path])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[yes, no, on, off, 007, 2024-01-01, 1:30]", ["yes", "no", "on", "off", "007", "2024-01-01", "1:30"]),
        ("[true, False, null, ~, 1e-3, 1_000, -2, .5, 1.]", [True, False, None, None, 0.001, 1000, -2, 0.5, 1.0]),
        ("{no: 1, 1.0: 2, null: 3}", {"no": 1, "1.0": 2, "null": 3}),
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}),
    ],
)
def test_values_of_yaml(text, value):
    assert load_yaml(text) == value


WRONG_NETWORK = """
from torch import nn

class Wrong(nn.Module):
    def __init__(self, num_classes, in_channels, image_size, output="short"):
        super().__init__()
        self.output = output
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))

    def forward(self, images):
        logits = self.layer(images)
        outputs = {"short": logits[:, :7], "column": logits[..., None], "scalar": logits.sum(), "none": None}
        if self.output == "exit":
            raise SystemExit
        return (outputs | {"tuple": (logits, logits[:, :3]), "empty": (), "dict": {"logits": logits}})[self.output]

def nothing(num_classes: int) -> nn.Module:
    return None
"""


@pytest.mark.parametrize(
    ("output", "got"),
    [
        ("short", "(64, 10); got shape (64, 7)"),
        ("column", "got shape (64, 10, 1)"),
        ("scalar", "got shape ()"),
        ("none", "got NoneType"),
        ("tuple", "got shape (64, 3)"),
        ("empty", "got NoneType"),
        ("dict", "got dict"),
        ("unknown", "Wrong fails with KeyError: 'unknown' (wrong_network.py, line 15); correct its code"),
        ("exit", "Wrong fails with SystemExit (wrong_network.py, line 14); correct its code"),
    ],
)
def test_a_network_of_a_wrong_output(workspace, capsys, monkeypatch, output, got):
    Path("wrong_network.py").write_text(WRONG_NETWORK)
    monkeypatch.syspath_prepend(str(workspace))
    args = ["--network=wrong_network.Wrong", f"--network.init_args.output={output}", "--trainer.fast_dev_run=1"]
    assert got in run(capsys, ["fit", *args])


@pytest.mark.parametrize("key", ["network", "data", "model.init_args.optimizer", "trainer.callbacks+", "network.help"])
def test_a_module_that_ends_the_program(workspace, capsys, monkeypatch, key):
    Path("ends_the_program.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(workspace))
    assert "ends_the_program.py, line 2" in run(capsys, ["fit", f"--{key}=ends_the_program.Network"])


def test_a_function_that_returns_no_network(workspace, capsys, monkeypatch):
    Path("wrong_network.py").write_text(WRONG_NETWORK)
    monkeypatch.syspath_prepend(str(workspace))
    assert "expected a torch.nn.Module from wrong_network.nothing; got NoneType" in run(
        capsys, ["fit", "--network=wrong_network.nothing"]
    )


@pytest.mark.parametrize("transform", ["ToPILImage", "Resize, init_args: {size: 4}"])
def test_a_transform_that_changes_the_size_or_type(workspace, capsys, transform):
    Path("resize.yaml").write_text(
        "data: {init_args: {augment: {transforms: [{class_path: torchvision.transforms.v2." + transform + "}]}}}\n"
    )
    args = ["-c", "configs/train.yaml", "-c", "resize.yaml", "--trainer.fast_dev_run=1"]
    assert "expected transforms that keep an image's type and size" in run(capsys, ["fit", *args])


@pytest.mark.parametrize(
    "transform", ["Normalize, init_args: {mean: [0.5], std: [0.5]}", "RandomCrop, init_args: {size: 99}"]
)
def test_a_transform_that_does_not_suit_the_images(workspace, capsys, transform):
    Path("crop.yaml").write_text(
        "data: {init_args: {augment: {transforms: [{class_path: torchvision.transforms.v2." + transform + "}]}}}\n"
    )
    args = ["-c", "configs/train.yaml", "-c", "crop.yaml", "--trainer.fast_dev_run=1"]
    assert f"{transform.partition(',')[0]} fails with " in run(capsys, ["fit", *args])


@pytest.mark.parametrize("replace", [["--network=leyden.models.FastCNN"], ["-c", "replace.yaml"]])
def test_arguments_of_a_replaced_class_are_named(workspace, caplog, replace):
    Path("wide.yaml").write_text("network: {class_path: leyden.models.ResNet, init_args: {width: 8, depths: [1]}}\n")
    Path("replace.yaml").write_text("network: {class_path: leyden.models.FastCNN}\n")
    caplog.set_level(logging.INFO)
    logging.getLogger("lightning.pytorch").addHandler(caplog.handler)
    assert main(["fit", "-c", "configs/train.yaml", "-c", "wide.yaml", *replace, "--trainer.fast_dev_run=1"]) == 0
    logging.getLogger("lightning.pytorch").removeHandler(caplog.handler)
    dropped = "network.init_args.width, network.init_args.depths"
    assert f"fit: note: left out, since the chosen class does not take it: {dropped}" in caplog.messages


def test_tune_in_two_processes(workspace, capsys):
    args = ["-c", "configs/train.yaml", "-c", "configs/trainer/ddp.yaml"]
    assert "expected one process for the finders; got 2" in run(capsys, ["tune", *args])


@pytest.mark.parametrize("command", ["--help", "prepare --help"])
def test_a_reader_that_closes_the_pipe_after_the_first_line(python_env, command):
    read, write = os.pipe()
    os.close(read)
    env = {**python_env, "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "leyden", *command.split()], stdout=write, stderr=subprocess.PIPE, env=env, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
