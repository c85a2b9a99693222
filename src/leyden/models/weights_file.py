"""Reading pretrained weights from a file, without running code from it."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.errors import UserError, one_line
from leyden.models.checkpoint import check_weights
from leyden.trust.archives import check_archive


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running code from it.

    Raises:
        UserError: if the file is missing, is damaged, is not a state dict, or asks to run code.
    """
    if not path.is_file():
        raise UserError(
            f"expected pretrained weights at {path}; not found; correct network.init_args.weights, or set it to null"
        )
    try:
        content = read_file(path)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"expected safetensors to read {path}; it is not installed; run `make`, or install leyden[train]"
        ) from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused {path}: it asks to run code when loaded, or is damaged; save a plain state dict"
        ) from error
    except Exception as error:  # both libraries raise almost any exception on bytes that are not weights
        raise UserError(
            f"expected pretrained weights; {path} cannot be read ({one_line(error)}); download it again"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):  # as torchvision's scripts save
        content = content["model"]
    if not (isinstance(content, Mapping) and content and all(isinstance(each, Tensor) for each in content.values())):
        raise UserError(
            f"expected a state dict (names and tensors) in {path}; it holds something else; save model.state_dict()"
        )
    check_weights(content, path)
    return dict(content)


def read_file(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if zipfile.is_zipfile(path):  # torch's format before 2020 was not
        check_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)
