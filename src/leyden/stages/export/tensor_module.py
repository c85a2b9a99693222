"""A LightningModule of the user's as a function of named tensors, which every format can express."""

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from leyden.errors import UserError, own_code_errors
from leyden.runtimes.module_inputs import Arguments

BATCH = "batch"  # in shapes: the dimension that varies from call to call


class NamedTensor(NamedTuple):
    """An input or output: its name, its type such as float32, and its shape, in which "batch" is the batch's size."""

    name: str
    dtype: str
    shape: list[int | str]


class TensorModule(nn.Module):
    """Maps the tensors in the arguments of a module's `forward` to the tensors in its result, in their order.

    Containers are flattened; values in the arguments that are no tensors are constants.

    Args:
        network: The module.
        arguments: Of a call of its `forward`, with a batch of any size.

    Raises:
        UserError: if there is no tensor with a batch among the arguments or the results, or `forward` fails.
    """

    def __init__(self, network: nn.Module, arguments: Arguments) -> None:
        super().__init__()
        self.network = network.eval()
        paths, self._structure = _pytree.tree_flatten_with_path(arguments)
        self._constants = [None if isinstance(leaf, Tensor) else leaf for _, leaf in paths]
        self._is_tensor = [isinstance(leaf, Tensor) for _, leaf in paths]
        tensors = self.flatten(arguments)
        batch_size = next((len(each) for each in tensors if each.ndim), None)
        if batch_size is None:
            raise UserError(
                f"expected inputs of {type(network).__name__}.forward with a batch as first dimension; got no such "
                "tensor; set example_input_array"
            )
        names = name_arguments(network, [path for path, leaf in paths if isinstance(leaf, Tensor)])
        self.inputs = describe_tensors(names, tensors, batch_size)
        self._fixed = [each.clone() for each in tensors]  # of which those without a batch are used
        self.outputs = self._describe_outputs(self.take(tensors, batch_size + 1))

    @staticmethod
    def flatten(arguments: Arguments) -> list[Tensor]:
        return [leaf for leaf in _pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]

    def accepts(self, tensors: list[Tensor]) -> bool:
        """Return whether tensors are of the inputs' number, types and shapes, with a batch of any size."""
        sizes = [len(each) for each in tensors if each.ndim][:1]
        return bool(sizes) and describe_tensors([each.name for each in self.inputs], tensors, *sizes) == self.inputs

    def batch_size(self, tensors: list[Tensor]) -> int:
        return next(len(each) for described, each in zip(self.inputs, tensors, strict=True) if BATCH in described.shape)

    def select(self, tensors: list[Tensor], rows: Tensor) -> list[Tensor]:
        """Return inputs with some examples of a batch, int64 (B,)."""
        return [
            each[rows].contiguous() if BATCH in described.shape else each
            for described, each in zip(self.inputs, tensors, strict=True)
        ]

    def take(self, tensors: list[Tensor], count: int) -> list[Tensor]:
        """Return inputs with the first `count` examples of a batch, repeated if there are fewer."""
        return self.select(tensors, torch.arange(count) % self.batch_size(tensors))

    def call(self, tensors: tuple[Tensor, ...] | list[Tensor]) -> Any:
        """Return what `forward` returns, in its containers."""
        remaining = iter(tensors)
        leaves = [
            next(remaining) if is_tensor else constant
            for is_tensor, constant in zip(self._is_tensor, self._constants, strict=True)
        ]
        args, kwargs = _pytree.tree_unflatten(leaves, self._structure)
        return self.network(*args, **kwargs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in _pytree.tree_leaves(self.call(tensors)) if isinstance(leaf, Tensor))

    def example_inputs(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return blank inputs to trace with: real ones would be stored in the file."""
        return tuple(
            torch.zeros_like(each) if BATCH in described.shape else each
            for described, each in zip(self.inputs, self.take(self._fixed, batch_size), strict=True)
        )

    def dynamic_shapes(self, max_batch: int | None = None) -> Any:
        """Return which dimensions vary from call to call, as torch.export expects them for `*tensors`."""
        batch = torch.export.Dim("batch", min=1, max=max_batch)
        return (tuple({0: batch} if BATCH in each.shape else {} for each in self.inputs),)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.inputs)

    @property
    def output_names(self) -> list[str]:
        return [each.name for each in self.outputs]

    def _describe_outputs(self, tensors: list[Tensor]) -> list[NamedTensor]:
        """Describe the results for a batch whose size is not another dimension by chance."""
        name, batch_size = type(self.network).__name__, self.batch_size(tensors)
        expected = f"{name}.forward to take the inputs of a test batch"
        with own_code_errors(expected, advice="set example_input_array to what it takes"), torch.no_grad():
            result = self.call(tensors)
        leaves, _ = _pytree.tree_flatten_with_path(result)
        found = [(path, leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]
        if not found:
            raise UserError(
                f"expected {name}.forward to return a tensor, or a tuple or dict of tensors; got "
                f"{type(result).__name__}; correct what it returns"
            )
        names = ["_".join(map(key_text, path)) for path, _ in found]
        names = [f"output_{each or 0}" if not each or each[0].isdigit() else each for each in names]
        names = [f"output_{each}" if each in self.names else each for each in names]
        return describe_tensors(names, [leaf for _, leaf in found], batch_size)


def name_arguments(network: nn.Module, paths: list[Any]) -> list[str]:
    """Name tensors by the parameters of `forward`, and by their keys in a dict; with a tuple's index if it has many."""
    parameters = list(inspect.signature(network.forward).parameters)
    names = []
    for group, argument, *keys in paths:
        is_keyword = key_text(group) == "1"
        name = key_text(argument) if is_keyword else parameters[min(argument.idx, len(parameters) - 1)]
        is_dict = bool(keys) and isinstance(keys[0], _pytree.MappingKey)
        names.append("_".join(map(key_text, keys)) if is_dict else "_".join([name, *map(key_text, keys)]))
    return [name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)]


def key_text(key: Any) -> str:
    return str(key.idx) if isinstance(key, _pytree.SequenceKey) else str(getattr(key, "key", getattr(key, "name", key)))


def describe_tensors(names: list[str], tensors: list[Tensor], batch_size: int) -> list[NamedTensor]:
    return [
        NamedTensor(
            name,
            str(each.dtype).removeprefix("torch."),
            [BATCH, *each.shape[1:]] if each.ndim and len(each) == batch_size else list(each.shape),
        )
        for name, each in zip(names, tensors, strict=False)
    ]
