"""LightningCLI with Leyden's links between data and model, forced callbacks, run folder and one-line errors."""

import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.memory import is_oom_error
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from leyden.class_paths import import_path
from leyden.errors import UserError, one_line, own_code_errors
from leyden.files import replaced_file, sha256
from leyden.parsing import (
    StrictParser,
    check_configs,
    class_named_last,
    dropped_keys,
    filling_in,
    names_setting,
    one_line_errors,
)
from leyden.training.auto import AutoClasses
from leyden.training.checkpoint_io import AtomicCheckpointIO
from leyden.training.class_checks import check_arguments_set, check_named_class, constructor_errors
from leyden.training.config_checks import check_seed, check_torchrun_restarts, check_trainer
from leyden.training.devices import computes_bf16_natively, default_device_type, disable_nvml_check, runs_on_cpu
from leyden.training.module_description import DATA_ARGUMENTS, describe_module
from leyden.training.monitoring import TensorBoard
from leyden.training.progress import ProgressLines, ThroughputProgressBar
from leyden.training.provenance import describe_provenance
from leyden.training.resumption import Resume
from leyden.training.run_checkpoint import RunCheckpoint
from leyden.training.run_folder import Run, result_config
from leyden.training.supervised_module import SupervisedModule
from leyden.training.warning_filters import filter_warnings

ESSENTIALS = """
The essential options (with the defaults of configs/train.yaml):
  -c configs/train.yaml -c configs/trainer/debug.yaml   config files, merged from left to right
  --trainer.max_epochs=20                                epochs
  --trainer.precision=bf16-mixed                         32-true, 16-mixed, ...; null: bf16 where it is native
  --data.init_args.batch_size=64                         examples per step and device
  --model.init_args.optimizer.init_args.lr=0.004         peak learning rate
  --network=leyden.models.ResNet --network.init_args.width=32
  --network=timm:convnext_atto --network.init_args.weights=DEFAULT   a pretrained network of timm
  --network=torchvision.models.resnet18                  any torch module that takes num_classes
  --model=my_package.MyModule --data=my_package.MyData   any LightningModule, see docs/any-module.md
  --seed_everything=0                                    order, augmentation and initial weights
  --ckpt_path=PATH                                       validate, test: the checkpoint (artifacts/train/model.ckpt)
  --print_config                                         the resolved config, to a file with > my.yaml
  --model.help leyden.SupervisedModule                   the options of a class
"""


DEFAULTS = Path("configs/train.yaml")
LIGHTNING = str(Path(lightning.pytorch.__file__).parent)
# What the data, the network or the seed sets: a value of its own would be overwritten without a word.
LINKS = {
    "model.init_args.network": "network",
    "model.init_args.labels": "the data",
    "model.init_args.input": "the data",
    "model.init_args.task": "the data",
    "model.init_args.class_counts": "the data",
    "data.init_args.seed": "seed_everything",
}
MODULE_LINKS = {"data.init_args.seed": "seed_everything"}  # of a LightningModule of the user's


class StrictLightningParser(StrictParser, LightningArgumentParser):
    """Lightning's parser without abbreviated keys."""


class LeydenCLI(LightningCLI):
    """Parses the config and instantiates data, model and trainer; the verbs call the trainer themselves."""

    run: Run
    provenance: dict[str, Any]

    @classmethod
    def parse(cls, verb: str, args: list[str]) -> "LeydenCLI":
        """Build everything that a verb needs.

        Raises:
            UserError: for a mistake in the config files or on the command line.
        """
        if {"-h", "--help"} & set(args):
            print(ESSENTIALS, flush=True)  # before the complete list
        filter_warnings()
        disable_nvml_check()
        check_torchrun_restarts()
        return cls(
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            trainer_defaults={"logger": False, "num_sanity_val_steps": 0},
            parser_class=StrictLightningParser,
            parser_kwargs={
                "prog": f"leyden {verb}",
                "usage": f"leyden {verb} [-c CONFIG]... [--any.key=value]...",
                "description": "All options:",
                "exit_on_error": False,
            },
            args=args,
            run=False,
        )

    def __init__(self, args: list[str], **options: Any) -> None:
        named = class_named_last(args, "model")
        is_other = isinstance(named, type) and not issubclass(named, SupervisedModule)
        self.links = MODULE_LINKS if is_other else LINKS
        self._command_line, self._folder = args, Path.cwd()
        super().__init__(LightningModule, LightningDataModule, args=args, **options)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to validate or test.")
        linked = {"in_channels", "in_features", "num_classes", "image_size"}  # to the data, by the model
        parser.add_subclass_arguments(
            nn.Module, "network", skip=linked, instantiate=False, required=False, help="The network."
        )
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=check_seed)
        if "model.init_args.network" in self.links:
            parser.link_arguments("network", "model.init_args.network", compute_fn=to_plain_dict)
        for name in DATA_ARGUMENTS:
            # A module of the user's may have arguments of these names that the data does not know.
            if f"model.init_args.{name}" in self.links or not names_setting(self._command_line, "model", name):
                parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Resume, "resume")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        check_configs(parser, args, self.links)
        check_named_class(args, "model", LightningModule)
        check_named_class(args, "data", LightningDataModule)
        auto = AutoClasses(args)
        with one_line_errors(parser), filling_in(auto.fill_in):
            super().parse_arguments(parser, auto.fill_in_options(args))
        if dropped := ", ".join(dict.fromkeys(dropped_keys(args, self.config, DEFAULTS))):
            rank_zero_info(
                f"{parser.prog.split()[1]}: note: left out, since the chosen class does not take it: {dropped}"
            )
        if self.config.seed_everything is not None:
            check_seed(self.config.seed_everything)
        if self.links is MODULE_LINKS:  # it has no network of ours
            self.config.network = None

    def before_instantiate_classes(self) -> None:
        trainer = self.config.trainer
        check_trainer(trainer)
        for section, linked in (("model", ("network", *DATA_ARGUMENTS)), ("data", ("seed",))):
            check_arguments_set(self._command_line, section, self.config[section], linked)
        if trainer.precision is None:
            device_type = "cpu" if runs_on_cpu(trainer.accelerator) else default_device_type()
            is_robust = issubclass(import_path(self.config.model.class_path), SupervisedModule)
            trainer.precision = "bf16-mixed" if is_robust and computes_bf16_natively(device_type) else "32-true"

    def instantiate_classes(self) -> None:
        with one_line_errors(self.parser), lightning_errors(), constructor_errors(), unread_loaders():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Instantiate the trainer for the run that config, data and model determine together."""
        os.chdir(self._folder)  # a constructor of the user's may have changed it
        config = json.loads(self.parser.dump(self.config, format="json"))
        input_files = {path: sha256(Path(path)) for path in getattr(self.model, "input_files", [])}
        data_hash = getattr(self.datamodule, "data_hash", "")
        self.provenance = describe_provenance(config, data_hash, input_files)
        if isinstance(self.model, SupervisedModule):
            self.model.provenance = self.provenance
        else:
            settings = json.loads(self.parser.dump(self.config, format="json", skip_none=False))
            description = describe_module(settings, self.model, self.datamodule, self.provenance)
            self.config_init.checkpoint.description = description
        # A different teacher or earlier model makes it a different run.
        self.run = Run(result_config(config) | input_files, data_hash)
        self._set_run_folder()
        options = {**self._display_options(), **self._plugin_options(), **kwargs}
        if reads_prepared_data(self.datamodule):
            options["use_distributed_sampler"] = False  # each process samples its own part
        return super().instantiate_trainer(default_root_dir=str(self.run.folder), **options)

    def _set_run_folder(self) -> None:
        """Set the run's folder in the callbacks and loggers that write files."""
        self.config_init.checkpoint.dirpath = str(self.run.folder)
        self.config_init.resume.run, self.config_init.resume.seed = self.run, int(self.config.seed_everything or 0)
        for logger in as_list(self.config_init.trainer.logger):
            if isinstance(logger, TensorBoard):
                logger.folder = self.run.folder

    def _display_options(self) -> dict[str, Any]:
        """Return Trainer options that show the progress: bars on a terminal, lines in a log file."""
        configured, callbacks = self.config.trainer, as_list(self.config_init.trainer.callbacks)
        options: dict[str, Any] = {
            name: sys.stderr.isatty() if configured[name] is None else configured[name]
            for name in ("enable_progress_bar", "enable_model_summary")
        }
        if not any(isinstance(each, ProgressBar | ProgressLines) for each in callbacks):
            progress = ThroughputProgressBar() if options["enable_progress_bar"] else ProgressLines()
            options["callbacks"] = [*callbacks, progress]
        return options

    def _plugin_options(self) -> dict[str, Any]:
        """Return Trainer options for atomic checkpoints, and for float16 training on CPUs."""
        plugins = [*(self.config_init.trainer.plugins or []), AtomicCheckpointIO()]
        configured = self.config.trainer
        if str(configured.precision) in ("16", "16-mixed") and runs_on_cpu(configured.accelerator):
            # Without the plugin, Lightning replaces float16 by bfloat16 on CPUs.
            return {"plugins": [*plugins, MixedPrecision("16-mixed", "cpu")], "precision": None}
        return {"plugins": plugins}

    def save_config(self, path: Path) -> None:
        with replaced_file(path) as partial:
            self.parser.save(
                self.config, partial, skip_none=False, skip_validation=True, overwrite=True, multifile=False
            )


def options() -> list[str]:
    """Return the options that shell completion offers besides the keys of the config."""
    return [f"--trainer.{name}=" for name in inspect.signature(Trainer).parameters] + ["--ckpt_path=", "--print_config"]


@contextmanager
def unread_loaders() -> Iterator[None]:
    """Keep Lightning from creating the data's loaders before `setup`, only to print them in a debug message."""
    original = LightningDataModule.__str__
    LightningDataModule.__str__ = object.__repr__  # type: ignore[method-assign]
    try:
        yield
    finally:
        LightningDataModule.__str__ = original  # type: ignore[method-assign]


@contextmanager
def lightning_errors() -> Iterator[None]:
    """Raise what Lightning raises of settings that it cannot train with, and exhausted memory, as UserError."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error
    except (AttributeError, RuntimeError, ValueError, MemoryError) as error:
        if is_oom_error(error) or isinstance(error, MemoryError):
            raise UserError(
                f"expected a training that fits in memory; got {type(error).__name__}: {one_line(error)}; "
                "set a smaller data.batch_size, with trainer.accumulate_grad_batches to make up for it"
            ) from error
        raising = traceback.extract_tb(error.__traceback__)[-1]
        if not raising.filename.startswith(LIGHTNING):
            raise
        raise UserError(" ".join(str(error).split())) from error


@contextmanager
def training_errors(cli: LeydenCLI) -> Iterator[None]:
    """Raise what ends a training, a validation or a test as UserError, if Lightning or the user's own module raises it.

    A `SupervisedModule` raises its network's errors as UserError itself; any others are faults of this package.
    """
    name = type(cli.model).__name__
    own = own_code_errors(f"steps of {name} that run on batches of {type(cli.datamodule).__name__}", name)
    with nullcontext() if isinstance(cli.model, SupervisedModule) else own, lightning_errors():
        yield


def reads_prepared_data(data: LightningDataModule) -> bool:
    """Return whether a data module is one of this package, or a subclass."""
    package = f"{__name__.partition('.')[0]}.data."
    return any(kind.__module__.startswith(package) for kind in type(data).__mro__)


def as_list(value: Any) -> list[Any]:
    """Return a setting that may be one object, a list or None as a list."""
    return value if isinstance(value, list) else [value] if value else []


def to_plain_dict(network: Any) -> Any:
    """Return a network's specification as nested dicts, as checkpoints store it."""
    spec = network.as_dict() if hasattr(network, "as_dict") else network
    if spec and (unchecked := spec.pop("dict_kwargs", None)):  # of a constructor with **kwargs
        spec["init_args"] = {**spec.get("init_args", {}), **unchecked}
    return spec
