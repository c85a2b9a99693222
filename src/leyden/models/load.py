"""Load a model from a checkpoint or an exported file: one call, the same use."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from leyden.errors import UserError
from leyden.models.build import Model, build_model
from leyden.models.runtimes import Opened, open_model


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


def load(path: str | Path, device: str = "cpu") -> Any:
    """Load a checkpoint (.ckpt) or a file that `leyden export` wrote (.onnx, .pt2, .pte, .xml, .torchscript, .safetensors).

    Args:
        path: The file.
        device: Where a checkpoint's weights go.

    Returns:
        A callable from uint8 images (B, C, H, W) to logits (B, K), with `.labels`, `.channels` and `.image_size`; for sequences
        from values (B, T, F) and lengths (B,), with `.labels` and `.features`. For a checkpoint an `ImageModel` or a
        `SequenceModel` in evaluation mode.

    Raises:
        UserError: if the file is missing, of another kind, or holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"expected a model at {path}, which is not there; run `leyden fit` first (or `make repro`)")
    if path.suffix == ".ckpt":
        return load_checkpoint(path, device)
    try:
        return ExportedModel(open_model(path))
    except (UserError, ImportError):
        raise
    except Exception as error:  # each runtime has exceptions of its own for bytes that are no model
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"expected an exported model; {path} cannot be read ({reason}); make it anew with `leyden export`") from error


class Examples(Protocol):
    """Images uint8 (N, H, W, C), an array or a memory map; or sequences, which a slice gives as padded values and lengths."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def predict_logits(predictor: Predictor, examples: Examples, batch_size: int) -> Tensor:
    """Run a model over examples: float32 logits (N, K)."""
    batches = []
    with torch.inference_mode():
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            if isinstance(batch, tuple):
                inputs = [torch.from_numpy(part) for part in batch]
            else:
                inputs = [torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2)]  # a copy: torch wants writable memory
            batches.append(predictor(*inputs).float())
    return torch.cat(batches)


def calibrated(predictor: Predictor, logits: Tensor) -> Tensor:
    """Divide logits by the temperature that the model carries; a file that tells none is taken as it is."""
    return logits / getattr(predictor, "temperature", 1.0)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it.

    Raises:
        UserError: if it is damaged, holds more than plain data, or was not made by `leyden fit`.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"refused {path}: it asks to run code when loaded, or is damaged; use only checkpoints made by `leyden fit`") from error
    except Exception as error:  # bytes that are no checkpoint make torch raise nearly anything
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"expected a checkpoint; {path} is damaged ({reason}); make it anew with `leyden fit`") from error
    if not isinstance(checkpoint, dict) or "leyden" not in checkpoint:
        raise UserError(f"expected a checkpoint made by `leyden fit`; {path} has no 'leyden' entry that describes its network")
    return checkpoint


def load_checkpoint(path: Path, device: str = "cpu") -> Model:
    checkpoint = read_checkpoint(path)
    spec = checkpoint["leyden"]
    model = build_model(spec["network"], spec["labels"], spec["input"])
    weights = {key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items() if key.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not fit {spec['network']['class_path']} as it is now; use the code that trained it") from error
    model.provenance = spec.get("provenance", {})
    model.spec["temperature"] = spec.get("temperature", 1.0)
    return model.eval().to(device)


class ExportedModel:
    """An exported file in its own runtime, called as a checkpoint's model is."""

    def __init__(self, opened: Opened) -> None:
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
        """Map images (B, C, H, W), or values (B, T, F) and lengths (B,), to logits (B, K)."""
        return torch.from_numpy(self._run(*(each.contiguous().cpu().numpy() for each in inputs)))
