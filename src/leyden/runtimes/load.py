"""Load a model from a checkpoint or an exported file: one call, the same use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from leyden.errors import UserError
from leyden.models.checkpoint import load_checkpoint
from leyden.runtimes import OpenedModel, open_model


class Predictor(Protocol):
    """Whatever maps uint8 images (B, C, H, W), or values (B, T, F) and lengths (B,), to logits (B, K) and knows its labels."""

    labels: list[str]

    @property
    def __call__(self) -> Callable[..., Tensor]: ...


class ImagePredictor(Predictor, Protocol):
    """One for images."""

    @property
    def channels(self) -> int: ...

    @property
    def image_size(self) -> tuple[int, int]: ...


def load(path: str | Path, device: str = "cpu", trust: bool = False) -> Any:
    """Load a checkpoint (.ckpt) or a file that `leyden export` wrote (.onnx, .pt2, .pte, .xml, .torchscript, .safetensors).

    Args:
        path: The file.
        device: Where a checkpoint's weights go.
        trust: Load it even if it runs code: TorchScript, AOTInductor's library, a network that is not of leyden, torchvision or
            timm. Files that this project has published do not need it.

    Returns:
        A callable from uint8 images (B, C, H, W) to logits (B, K), with `.labels`, `.channels` and `.image_size`; for sequences
        from values (B, T, F) and lengths (B,), with `.labels` and `.features`. For a checkpoint an `ImageModel` or a
        `SequenceModel` in evaluation mode.

    Raises:
        UserError: if the file is missing, damaged, of another kind, or holds code that is not trusted.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"expected a model at {path}, which is not there; run `leyden fit` first (or `make repro`)")
    if path.suffix == ".ckpt":
        return load_checkpoint(path, device, trust)
    try:
        return ExportedModel(open_model(path, trust))
    except (UserError, ImportError):
        raise
    except Exception as error:  # each runtime has exceptions of its own for bytes that are no model
        reason = " ".join(str(error).split())[:80]
        raise UserError(
            f"expected an exported model; {path} cannot be read ({reason}); make it anew with `leyden export`"
        ) from error


class Examples(Protocol):
    """Images uint8 (N, H, W, C), an array or a memory map; or sequences, which a slice gives as padded values and lengths."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def predict_logits(predictor: Predictor, examples: Examples, batch_size: int) -> Tensor:
    """Run a model over examples: finite float32 logits (N, K).

    Raises:
        UserError: if a logit is NaN or infinite, or there are not as many as labels.
    """
    logits = run_model(predictor, examples, batch_size)
    if count := int((~logits.isfinite().all(dim=1)).sum()):
        raise UserError(
            f"expected finite logits; got NaN or infinity for {count:,} of {len(logits):,} examples: "
            "the model's weights or its precision are at fault; train or export it again"
        )
    return logits


def run_model(predictor: Predictor, examples: Examples, batch_size: int) -> Tensor:
    """Run a model over examples: float32 logits (N, K), finite or not.

    Raises:
        UserError: if there are not as many logits as labels.
    """
    batches = []
    with torch.inference_mode():
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            if isinstance(batch, tuple):
                inputs = [torch.from_numpy(part) for part in batch]
            else:
                inputs = [torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2)]  # a copy: torch wants writable memory
            try:
                logits = predictor(*inputs).float()
            except UserError:
                raise
            except Exception as error:  # each runtime has errors of its own, and a network's code may have any
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"expected a model that runs on these examples; it failed ({reason}); train or export it again"
                ) from error
            if logits.shape != (expected := (len(inputs[0]), len(predictor.labels))):
                raise UserError(
                    f"expected logits of shape {expected}, one for each label; the model's have {tuple(logits.shape)}; export it again"
                )
            batches.append(logits)
    return torch.cat(batches)


def calibrated(predictor: Predictor, logits: Tensor) -> Tensor:
    """Divide logits by the temperature that the model carries; a file that tells none is taken as it is."""
    return logits / getattr(predictor, "temperature", 1.0)


class ExportedModel:
    """An exported file in its own runtime, called as a checkpoint's model is."""

    def __init__(self, opened: OpenedModel) -> None:
        self.description, self.labels = opened.description, opened.labels
        facts = opened.description["input"]
        if "features" in facts:
            self.features: int = facts["features"]
        else:
            self.channels: int = facts["channels"]
            height, width = facts["image_size"]
            self.image_size: tuple[int, int] = (height, width)
        self.temperature = float(opened.description.get("temperature", 1.0))
        self._run = opened.run

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W), or values (B, T, F) and lengths (B,), to logits (B, K).

        Raises:
            UserError: if they are of another type or shape than the file takes.
        """
        takes_images = hasattr(self, "channels")
        expected = (torch.uint8, self.channels, *self.image_size) if takes_images else (torch.float32, self.features)
        shape = inputs[0].shape[1:] if takes_images else inputs[0].shape[2:]
        if (inputs[0].dtype, *shape) != expected:
            sizes = ", ".join(map(str, expected[1:]))
            raise UserError(
                f"expected {expected[0]} (B, {'' if takes_images else 'T, '}{sizes}); got {inputs[0].dtype} {tuple(inputs[0].shape)}"
            )
        return torch.from_numpy(self._run(*(each.contiguous().cpu().numpy() for each in inputs)))
