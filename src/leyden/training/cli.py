"""LightningCLI with Leyden's links, forced callbacks, run folder and one-line errors."""

import inspect
import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

import leyden
from leyden.errors import UserError
from leyden.files import replaced_file, sha256
from leyden.parsing import one_line_errors
from leyden.training.monitoring import NON_DETERMINING_KEYS, TensorBoard, Throughput
from leyden.training.precision import computes_bf16_natively
from leyden.training.resumption import AtomicCheckpointIO, Resume
from leyden.training.run_checkpoint import RunCheckpoint
from leyden.training.run_folder import Run, describe_code

ESSENTIALS = """Train, validate or test a model.

The essential options (with the defaults of configs/train.yaml):
  -c configs/train.yaml -c configs/trainer/debug.yaml   config files, merged from left to right
  --trainer.max_epochs=20                                epochs
  --trainer.precision=bf16-mixed                         32-true, 16-mixed, ...; null picks bf16 where the machine computes it natively
  --data.init_args.batch_size=64                         examples per step and device
  --model.init_args.optimizer.init_args.lr=0.004         peak learning rate
  --network=leyden.models.ResNet --network.init_args.width=32
  --network=torchvision.models.resnet18                  any torch module that takes num_classes
  --seed_everything=0                                    order, augmentation and initial weights
  --ckpt_path=PATH                                       validate, test: the checkpoint (artifacts/train/model.ckpt)
  --print_config                                         the resolved config, to a file with > my.yaml
  --model.help leyden.Classifier                         the options of a class
"""


class LeydenCLI(LightningCLI):
    """Parses the config, instantiates data, model and trainer; the verbs call the trainer themselves."""

    run: Run

    @classmethod
    def parse(cls, verb: str, args: list[str]) -> "LeydenCLI":
        """Build everything that a verb needs.

        Raises:
            UserError: for a mistake in the config files or on the command line.
        """
        filter_warnings()
        stop_looking_for_drivers()
        check_restarts()
        return cls(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            trainer_defaults={"logger": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False},
            parser_kwargs={
                "prog": f"leyden {verb}",
                "usage": f"leyden {verb} [-c CONFIG]... [--any.key=value]...",
                "description": "All options:",
                "exit_on_error": False,
                "allow_abbrev": False,
            },
            args=args,
            run=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to validate or test.")
        facts = {"in_channels", "in_features", "num_classes", "image_size"}
        parser.add_subclass_arguments(
            nn.Module, "network", skip=facts, instantiate=False, required=False, help="The network."
        )
        parser.link_arguments("network", "model.init_args.network", compute_fn=to_plain_dict)
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.link_arguments("data.labels", "model.init_args.labels", apply_on="instantiate")
        parser.link_arguments("data.input", "model.init_args.input", apply_on="instantiate")
        parser.link_arguments("data.class_counts", "model.init_args.class_counts", apply_on="instantiate")
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Resume, "resume")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        with one_line_errors(parser):
            super().parse_arguments(parser, args)

    def before_instantiate_classes(self) -> None:
        if self.config.trainer.precision is None:
            kind = "cpu" if runs_on_cpu(self.config.trainer.accelerator) else default_device()
            self.config.trainer.precision = "bf16-mixed" if computes_bf16_natively(kind) else "32-true"
        if self.config.trainer.precision == "16-true":
            raise UserError(
                "expected a precision that can be trained in; got 16-true, whose small gradients vanish; set 16-mixed, which scales them"
            )
        if self.config.trainer.overfit_batches:
            raise UserError(
                "expected overfit_batches: 0, which takes the sampler from the data; use trainer.limit_train_batches, or `leyden doctor`"
            )
        if self.config.trainer.max_epochs == -1 and self.config.trainer.max_steps == -1:
            raise UserError(
                "expected an end that the learning rate can be planned by; got max_epochs: -1; set trainer.max_epochs or max_steps"
            )
        if self.config.trainer.sync_batchnorm and runs_on_cpu(self.config.trainer.accelerator):
            raise UserError(
                "expected GPUs for sync_batchnorm, which torch computes on no CPU; set trainer.sync_batchnorm: false"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Place everything that the training writes in the run's folder, whose name depends on the data."""
        config = json.loads(self.parser.dump(self.config, format="json"))
        data_hash = getattr(self.datamodule, "data_hash", "")
        input_files = {
            path: sha256(Path(path)) for path in getattr(self.model, "input_files", [])
        }  # another teacher is another training
        self.run = Run(result_config(config) | input_files, data_hash)
        self.config_init.resume.run, self.config_init.resume.seed = self.run, int(self.config.seed_everything or 0)
        self.model.provenance = {
            "config": config,
            "data_hash": data_hash,
            "input_files": input_files,
            "code_version": describe_code(),
            "versions": versions(),
        }
        self.config_init.checkpoint.dirpath = str(self.run.folder)
        in_terminal = sys.stderr.isatty()  # a log is better served by one line per epoch
        for option in ("enable_progress_bar", "enable_model_summary"):
            if self.config.trainer[option] is None:
                kwargs[option] = in_terminal
        callbacks, loggers = listed(self.config_init.trainer.callbacks), listed(self.config_init.trainer.logger)
        for logger in loggers:
            if isinstance(logger, TensorBoard):
                logger.folder = self.run.folder
        if kwargs.get("enable_progress_bar", self.config.trainer.enable_progress_bar) and not any(
            isinstance(each, ProgressBar) for each in callbacks
        ):
            kwargs["callbacks"] = [*callbacks, Throughput()]
        kwargs["plugins"] = [*(self.config_init.trainer.plugins or []), AtomicCheckpointIO()]
        if str(self.config.trainer.precision) in ("16", "16-mixed") and runs_on_cpu(self.config.trainer.accelerator):
            kwargs["plugins"].append(
                MixedPrecision("16-mixed", "cpu")
            )  # Lightning by itself would train in bfloat16 instead
            self.config_init.trainer.precision = None
        return super().instantiate_trainer(default_root_dir=str(self.run.folder), **kwargs)

    def instantiate_classes(self) -> None:
        with one_line_errors(self.parser), lightning_errors():
            super().instantiate_classes()

    def save_config(self, path: Path) -> None:
        with replaced_file(path) as partial:
            self.parser.save(self.config, partial, skip_validation=True, overwrite=True, multifile=False)


def print_essentials(args: list[str]) -> None:
    """Print the essential options before the complete list that --help prints."""
    if {"-h", "--help"} & set(args):
        print(ESSENTIALS, flush=True)


def options() -> list[str]:
    """Return the options that shell completion offers besides the keys of the config."""
    return [f"--trainer.{name}=" for name in inspect.signature(Trainer).parameters] + ["--ckpt_path=", "--print_config"]


@contextmanager
def lightning_errors() -> Iterator[None]:
    """Raise as UserError what Lightning calls a misconfiguration."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error


def result_config(config: dict[str, Any]) -> dict[str, Any]:
    """Give the part of a config that decides a training's result."""
    trainer = {key: value for key, value in config["trainer"].items() if key not in NON_DETERMINING_KEYS}
    return {key: trainer if key == "trainer" else value for key, value in config.items() if key != "resume"}


def listed(value: Any) -> list[Any]:
    """Give a setting that may be one thing, several or none as a list."""
    return value if isinstance(value, list) else [value] if value else []


def filter_warnings() -> None:
    """Drop messages that say nothing of the user's training."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells of each start, and of GPUs that are not there
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    warnings.filterwarnings(
        "ignore", message="LightningCLI's args parameter is intended"
    )  # sys.argv stays: DDP starts processes by it
    warnings.filterwarnings(
        "ignore", message="It is recommended to use `self.log"
    )  # torchmetrics has gathered what is logged
    warnings.filterwarnings(
        "ignore", message=".*torch.jit.script_method. is deprecated"
    )  # imported by torch.compile itself
    warnings.filterwarnings(
        "ignore", message="You're using the WeightAveraging callback with a model"
    )  # that shards: Sharded refuses it
    warnings.filterwarnings("ignore", message="Precision .* is not supported by the model summary")
    warnings.filterwarnings(
        "ignore", message="You're resuming from a checkpoint that ended before the epoch"
    )  # the sampler knows
    warnings.filterwarnings(
        "ignore", message="The number of training batches .* is smaller than the logging interval"
    )  # scores are per epoch
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )


def stop_looking_for_drivers() -> None:
    """Where there is no GPU, keep AdamW from looking for NVIDIA's library on the disk at each step (0.1 ms), as Lightning's setting has it."""
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def to_plain_dict(network: Any) -> Any:
    """Give a network's specification as nested dicts, as a checkpoint stores it."""
    return network.as_dict() if hasattr(network, "as_dict") else network


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "leyden": leyden.__version__,
    }


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def runs_on_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and default_device() == "cpu")


def check_restarts() -> None:
    """Refuse a torchrun whose restarted processes could look for lost ones: its store keeps the addresses of every round.

    Raises:
        UserError: if torchrun may restart processes, and shares one store among all rounds.

    Source: https://github.com/pytorch/pytorch/issues/135712
    """
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UserError(
            f"expected a new store for each restart; got torchrun --max-restarts={restarts} with one for all, in which lost processes "
            "keep their addresses; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, with --standalone or --rdzv-backend=c10d"
        )
