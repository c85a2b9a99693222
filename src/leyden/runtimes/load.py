"""Models loaded from checkpoints or exported files, with one interface for both."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from leyden.cost import announce_cost
from leyden.errors import UserError, one_line
from leyden.models.checkpoint import read_checkpoint, rebuild_checkpoint
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader
from leyden.runtimes import OpenedModel, open_model
from leyden.trust.description import DEFAULTS


class Predictor(Protocol):
    """Maps uint8 images (B, C, H, W), or values (B, T, F) and lengths (B,), to outputs (B, K) or (B, K, H, W)."""

    labels: list[str]

    @property
    def input(self) -> dict[str, Any]: ...

    @property
    def __call__(self) -> Callable[..., Tensor]: ...


def load(path: str | Path, device: str = "cpu", trust: bool = False) -> Any:
    """Load a checkpoint (.ckpt) or an exported file (.onnx, .pt2, .pte, .xml, .torchscript, .safetensors).

    Args:
        path: The file.
        device: The device for a checkpoint's weights.
        trust: Whether to load it even if it runs code: TorchScript, a library compiled by AOTInductor, or a network
            or LightningModule that is not part of leyden, torchvision or timm. Files that this project has published do
            not need it.

    Returns:
        A callable from uint8 images (B, C, H, W) to the task's outputs, (B, K) or (B, K, H, W), with `.labels`,
        `.channels` and `.image_size`; for sequences, a callable from values (B, T, F) and lengths (B,), with `.labels`
        and `.features`. An exported file's also has `.task`, the task's name and facts, and `.reader`, which reads the
        outputs. For a checkpoint, it is an `ImageModel` or a `SequenceModel` in evaluation mode, or the LightningModule
        itself if that is not a `leyden.SupervisedModule`.

    Raises:
        UserError: if the file is missing, damaged, of an unknown format, or holds code that is not trusted.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"expected a model at {path}; not found; run `leyden fit` first (or `make repro`)")
    if path.suffix == ".ckpt":
        checkpoint = read_checkpoint(path)
        if "module" not in checkpoint["leyden"]:
            return rebuild_checkpoint(checkpoint, path, device, trust)
        from leyden.models.module_checkpoint import rebuild_module  # it needs Lightning, which takes seconds to import

        return rebuild_module(checkpoint, path, device, trust)
    try:
        return ExportedModel(open_model(path, trust))
    except (UserError, ImportError):
        raise
    except Exception as error:  # each runtime raises its own exceptions on bytes that are not a model
        raise UserError(
            f"expected an exported model; {path} cannot be read ({one_line(error)}); "
            "create it again with `leyden export`"
        ) from error


class SliceableExamples(Protocol):
    """Images uint8 (N, H, W, C) in an array or memory map; or sequences, whose slices are padded values and lengths."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: slice, /) -> Any: ...


def reader_of(predictor: Any) -> OutputReader:
    """Build the reader of a model's outputs, of a checkpoint's model or an exported file."""
    return load_reader(getattr(predictor, "spec", None) or predictor.description)


def predict_logits(
    predictor: Predictor, examples: SliceableExamples, batch_size: int, stage: str | None = None
) -> Tensor:
    """Run a model over examples: finite float32 outputs (N, K) or (N, K, H, W).

    With the name of a stage, announce what it will cost. Outputs with a value for each pixel may not fit into memory:
    take them from `output_parts.predict_parts`.

    Raises:
        UserError: if an output is NaN or infinite, or the outputs' shape is not the task's.
    """
    outputs = run_model(predictor, examples, batch_size, stage)
    if count := int((~outputs.flatten(1).isfinite().all(dim=1)).sum()):
        raise UserError(
            f"expected finite {reader_of(predictor).output_name}; got NaN or infinity for {count:,} of "
            f"{len(outputs):,} examples, because of the model's weights or its precision; train or export it again"
        )
    return outputs


def run_model(predictor: Predictor, examples: SliceableExamples, batch_size: int, stage: str | None = None) -> Tensor:
    """Run a model over examples: float32 outputs (N, K) or (N, K, H, W), finite or not.

    Raises:
        UserError: if the outputs' shape is not the task's.
    """
    all_outputs = torch.empty(len(examples), *output_shape(predictor))
    start = 0
    for outputs in run_batches(predictor, examples, batch_size, stage):
        all_outputs[start : start + len(outputs)] = outputs
        start += len(outputs)
    return all_outputs


def run_batches(
    predictor: Predictor, examples: SliceableExamples, batch_size: int, stage: str | None = None
) -> Iterator[Tensor]:
    """Run a model over examples, and yield the outputs of each batch: float32 (B, K) or (B, K, H, W), finite or not.

    Raises:
        UserError: if the outputs' shape is not the task's.
    """
    shape, name = output_shape(predictor), reader_of(predictor).output_name
    starts = range(0, len(examples), batch_size)
    for start in announce_cost(starts, stage, f"predictions of {len(examples):,} examples") if stage else starts:
        batch = examples[start : start + batch_size]
        if isinstance(batch, tuple):
            inputs = [torch.from_numpy(part) for part in batch]
        else:
            pixels = np.array(batch)  # a copy: torch requires writable memory
            inputs = [torch.from_numpy(pixels).permute(0, 3, 1, 2)]
        try:
            with torch.inference_mode():
                outputs = predictor(*inputs).float()
        except UserError:
            raise
        except Exception as error:  # each runtime raises its own exceptions, and a network's code may raise any
            raise UserError(
                f"expected a model that runs on these examples; it failed ({one_line(error, 200)}); "
                "train or export it again"
            ) from error
        if outputs.shape != (expected := (len(inputs[0]), *shape)):
            raise UserError(
                f"expected {name} of shape {expected}, one for each label; got {tuple(outputs.shape)}; "
                "export the model again"
            )
        yield outputs


def output_shape(predictor: Any) -> tuple[int, ...]:
    """Return the shape of one example's outputs."""
    return reader_of(predictor).output_shape(getattr(predictor, "image_size", ()))


def calibrated(predictor: Predictor, logits: Tensor) -> Tensor:
    """Return the logits divided by the model's temperature, or unchanged if it has none."""
    return logits / getattr(predictor, "temperature", 1.0)


class ExportedModel:
    """An exported file in its own runtime, with the interface of a checkpoint's model."""

    def __init__(self, opened: OpenedModel) -> None:
        self._run, self.description = opened
        self.labels: list[str] = self.description["labels"]
        self.input: dict[str, Any] = self.description["input"]
        self.task: dict[str, Any] = self.description.get("task", DEFAULTS["task"])  # its name and facts
        self.reader = load_reader(self.description)
        if "features" in self.input:
            self.features: int = self.input["features"]
        else:
            self.channels: int = self.input["channels"]
            height, width = self.input["image_size"]
            self.image_size: tuple[int, int] = (height, width)
        self.temperature = float(self.description.get("temperature", 1.0))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W), or values (B, T, F) and lengths (B,), to outputs (B, K) or (B, K, H, W).

        Raises:
            UserError: if their type or shape differs from what the file accepts.
        """
        is_image_model = hasattr(self, "channels")
        expected = (torch.uint8, self.channels, *self.image_size) if is_image_model else (torch.float32, self.features)
        shape = inputs[0].shape[1:] if is_image_model else inputs[0].shape[2:]
        if (inputs[0].dtype, *shape) != expected:
            sizes = ", ".join(map(str, expected[1:]))
            raise UserError(
                f"expected {expected[0]} (B, {'' if is_image_model else 'T, '}{sizes}); "
                f"got {inputs[0].dtype} {tuple(inputs[0].shape)}; pass inputs of the expected type and shape"
            )
        return torch.from_numpy(self._run(*(each.contiguous().cpu().numpy() for each in inputs)))
