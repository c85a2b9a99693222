"""The description of a model, from which it is built again: plain values that every file of it holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from leyden.models.network_spec import NetworkSpec


def describe_model(
    network: NetworkSpec, labels: Sequence[str], input: Mapping[str, Any], task: Mapping[str, Any]
) -> dict[str, Any]:
    return {"network": network, "labels": list(labels), "input": dict(input), "task": dict(task)}
