"""Filters for warnings and log messages that do not concern the user's training."""

import logging
import os
import re
import warnings

IGNORED = (
    r".*isinstance\(treespec, LeafSpec\).*",
    "LightningCLI's args parameter is intended",  # sys.argv is kept: DDP starts its processes with it
    "It is recommended to use `self.log",  # torchmetrics has already reduced what is logged over processes
    ".*torch.jit.script_method. is deprecated",  # imported by torch.compile itself
    "You're using the WeightAveraging callback with a model",  # that shards its weights: Sharded refuses it
    "Precision .* is not supported by the model summary",
    "You're resuming from a checkpoint that ended before the epoch",  # the sampler resumes in the middle of an epoch
    "The number of training batches .* is smaller than the logging interval",  # scores are logged once per epoch
    "Checkpoint directory .* exists and is not empty",
)

IGNORED_LOG_MESSAGES = (
    "Tip:",
    "TPU available",
    "Loading `train_dataloader` to estimate",
    "`weights_only` was not set",  # by the finder of the learning rate, for its own temporary file
    "Restoring states from the checkpoint",
    "Restored all states from the checkpoint",
)


class Attributed(logging.Formatter):
    """Tells Lightning's lines from Leyden's own, which begin with a verb."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if re.match("[a-z]+: ", text) else f"lightning: {text}"


def concerns_the_user(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in IGNORED_LOG_MESSAGES)


def filter_warnings() -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler logs each start, and GPUs that do not exist
    for pattern in IGNORED:
        warnings.filterwarnings("ignore", message=pattern)
    for name in ("lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(Attributed())
            handler.addFilter(concerns_the_user)
