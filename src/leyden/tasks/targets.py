"""How targets are read while data is prepared, and the options of a loss."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leyden.errors import UserError
from leyden.imaging.images import ImageReader


class UnusableTargetError(Exception):
    """A target cannot be used; the message is the reason, as in `rejected.csv`."""


@dataclass(frozen=True)
class TargetSettings:
    """Settings of `leyden prepare` about targets.

    Args:
        units: Unit of each regression target by its name, for example {angle: deg}.
        ignore_value: Value of mask pixels that belong to no class, in no metric and no loss.
        limits: Of the files of masks.
    """

    units: dict[str, str] = field(default_factory=dict)
    ignore_value: int = 255
    limits: ImageReader = field(default_factory=ImageReader)


# Applies a function, which must be picklable, to the contents of files, also to those in archives, once each. Yields
# the path and the result of each; of a file that is not usable, the reason as a text.
ConvertFiles = Callable[[Callable[[bytes], Any], Iterable[str]], Iterator[tuple[str, Any]]]


class TargetSource(NamedTuple):
    """Where the targets of a data set come from."""

    data: Path
    columns: tuple[str, ...]  # of the manifest that hold the target; empty without a manifest
    settings: TargetSettings
    convert: ConvertFiles  # the files that targets are


class TargetSummary(NamedTuple):
    """What is known of a target before it is packed."""

    labels: list[str]  # which of the labels the example has
    key: str  # equal for equal targets


class TargetFile(NamedTuple):
    """The image that a target which is a file (a mask) belongs to."""

    image_size: tuple[int, int]  # in its file, upright: height and width in pixels
    stored_size: tuple[int, int]  # as it is packed


@dataclass(frozen=True)
class LossOptions:
    """Options of losses. None is the task's default; a task refuses an option that it does not have."""

    label_smoothing: float | None = None
    class_weights: Literal["auto"] | dict[str, float] | None = None
    class_counts: list[int] | None = None  # training examples with each label


def refuse_options(options: LossOptions, task: str, *names: str) -> None:
    """Refuse options that a task does not have.

    Raises:
        UserError: if one is set.
    """
    for name in names:
        if getattr(options, name) is not None:
            raise UserError(
                f"expected no model.{name} for {task}; got {getattr(options, name)}; set it to null in "
                "configs/train.yaml"
            )
