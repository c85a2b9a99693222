"""Segmentation: each pixel of an image belongs to one class."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from leyden.errors import UserError
from leyden.imaging.images import UnreadableImageError
from leyden.imaging.mask_cache import MaskCache
from leyden.imaging.mask_classes import CLASSES, IGNORED, MAX_VALUE, find_classes, make_palette, read_classes, to_hex
from leyden.imaging.masks import MaskReader, classify, decode_mask, resize_mask
from leyden.ranges import check_range
from leyden.tasks.targets import LossOptions, TargetFile, TargetSource, TargetSummary, UnusableTargetError
from leyden.tasks.task import Task
from leyden.trust.description import is_list_of

if TYPE_CHECKING:
    from torch import nn
    from torchmetrics import MetricCollection

NUM_SHOWN = 16
FEW_IMAGES = 10  # fewer that show a class are worth a warning
ROWS_PER_BLOCK = 256
# Names of the ignored value in classes.csv that need no warning: they say that it is no class.
NO_CLASS = {"void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "border"}
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "images": {"class_path": "leyden.models.UNet", "init_args": {"width": 16, "depth": 3}}
}


class Segmentation(Task):
    """Predicts the class of each pixel: logits (B, K, H, W), cross-entropy and soft Dice.

    Targets are class indices uint8 (N, H, W), 255 where a pixel is of no class. As texts, they are the paths of masks.
    """

    name = "segmentation"
    noun = "classes"
    columns = ("mask",)
    folders = ("images", "masks")
    label_files = (CLASSES,)
    is_dense = True
    networks = NETWORKS

    def __init__(
        self,
        labels: Sequence[str],
        values: Sequence[int | None] | None = None,
        palette: Sequence[str] | None = None,
        ignore_value: int | None = IGNORED,
        pixel_counts: Sequence[int] | None = None,
    ) -> None:
        """Store what is known about the classes.

        Args:
            labels: Name of each class.
            values: What pixels of each class hold in mask files; None where these hold colours.
            palette: The colour in which each class is drawn, `#rrggbb`.
            ignore_value: What pixels of no class hold in mask files; None if there are none.
            pixel_counts: Training pixels of each class.

        Raises:
            ValueError: if a list has not one valid value for each class, or `ignore_value` is none.
        """
        super().__init__(labels)
        self.values, self.palette, self.ignore_value = values, palette, ignore_value
        self.pixel_counts = pixel_counts
        count = len(self.labels)
        lists = ((str, palette), (int, pixel_counts), (int, [value or 0 for value in values or [0] * count]))
        if any(each is not None and not is_list_of(kind, each, count) for kind, each in lists):
            raise ValueError(f"values, palette or pixel_counts that do not fit {count} classes")
        if ignore_value is not None and not is_list_of(int, [ignore_value], above=-1):
            raise ValueError(f"ignore_value: {ignore_value!r}")
        # While data is prepared:
        self._reader = MaskReader((), ignore_value)
        self._masks: MaskCache | None = None
        self._ignored_name = ""  # of the ignored value in classes.csv
        self._shown: dict[str, list[int]] = {}  # the classes in each mask, by its path

    @classmethod
    def from_texts(cls, texts: Sequence[str], source: TargetSource) -> "Segmentation":
        """Find the classes: those of `classes.csv`; without it, the values or colours that the masks hold."""
        ignore_value, limits = source.settings.ignore_value, source.settings.limits
        check_range("prepare", f"[0, {MAX_VALUE}]", ignore_value=ignore_value)
        masks = read_masks(texts, source)
        is_listed = os.path.lexists(source.data / CLASSES)  # a broken link is an error
        listed = read_classes(source.data / CLASSES) if is_listed else find_classes(masks.contents, ignore_value)
        reader = MaskReader.from_classes(listed, ignore_value, limits)
        values = [mask_class.value for mask_class in reader.classes]
        palette = list(map(to_hex, make_palette(reader.classes)))
        task = cls([mask_class.name for mask_class in reader.classes], values, palette, reader.ignore_value)
        task._reader, task._masks = reader, masks
        ignored = [each.name for each in listed if each.value is not None and each.value == reader.ignore_value]
        task._ignored_name = ignored[0] if ignored and is_listed and ignored[0].lower() not in NO_CLASS else ""
        return task

    def inspect(self, text: str, file: TargetFile) -> TargetSummary:
        mask = self._read(text, file)
        shown = np.flatnonzero(np.bincount(mask.ravel(), minlength=len(self.labels))[: len(self.labels)]).tolist()
        if not shown:
            raise UnusableTargetError(f"mask {text}: no pixel is of a class")
        self._shown[text] = shown
        key = hashlib.sha256(mask.tobytes() + repr(mask.shape).encode())
        return TargetSummary([self.labels[index] for index in shown], key.hexdigest())

    def _read(self, text: str, file: TargetFile) -> np.ndarray:
        assert self._masks is not None
        try:
            return classify(self._masks.get(text), self._reader, file.image_size)
        except UnreadableImageError as error:
            raise UnusableTargetError(f"mask {text}: {error}") from error

    def strata(self, texts: Sequence[str]) -> list[str]:
        """Return the rarest class that each mask shows."""
        counts = Counter(index for text in texts for index in self._shown[text])
        return [self.labels[min(self._shown[text], key=lambda index: (counts[index], index))] for text in texts]

    def find_issues(self, texts: Sequence[str]) -> list[str]:
        counts = Counter(index for text in texts for index in self._shown[text])
        only = Counter(self._shown[text][0] for text in texts if len(self._shown[text]) == 1)
        name = self._ignored_name
        issues = [f"{name} in {CLASSES} has the ignore_value, so that its pixels count nowhere"] if name else []
        issues += [f"{count} of {len(texts)} masks show only {self.labels[i]}" for i, count in sorted(only.items())]
        rare = [f"{label} ({counts[index]})" for index, label in enumerate(self.labels) if counts[index] < FEW_IMAGES]
        return issues + ([f"classes that fewer than {FEW_IMAGES} images show: {', '.join(rare)}"] if rare else [])

    def encode(self, text: str, file: TargetFile) -> np.ndarray:
        return resize_mask(self._read(text, file), file.stored_size)

    @property
    def dtype(self) -> str:
        return "uint8"

    def target_shape(self, stored_size: tuple[int, int]) -> tuple[int, ...]:
        return stored_size

    def rows_with(self, targets: np.ndarray, index: int) -> np.ndarray:
        """Return the first rows that show a class."""
        rows = (row for row, target in enumerate(targets) if (target == index).any())
        return np.array([row for row, _ in zip(rows, range(NUM_SHOWN), strict=False)], np.int64)

    def fitted(self, targets: np.ndarray) -> "Segmentation":
        counts = np.zeros(256, np.int64)
        for start, end in pairwise([*range(0, len(targets), ROWS_PER_BLOCK), len(targets)]):
            counts += np.bincount(targets[start:end].ravel(), minlength=256)
        pixel_counts = counts[: len(self.labels)].tolist()
        if 0 in pixel_counts:
            raise UserError(
                f"expected training pixels of every class; got none of {self.labels[pixel_counts.index(0)]!r} at the "
                "size at which images are stored; set a larger image_size in configs/prepare.yaml, or add images"
            )
        return Segmentation(self.labels, self.values, self.palette, self.ignore_value, pixel_counts)

    def facts(self) -> dict[str, Any]:
        names = ("values", "palette", "ignore_value", "pixel_counts")
        return {name: getattr(self, name) for name in names}

    def make_loss(self, options: LossOptions) -> "nn.Module":
        from leyden.tasks.cross_entropy import weigh_classes
        from leyden.tasks.segmentation_loss import SegmentationLoss

        counts = None if self.pixel_counts is None else list(self.pixel_counts)
        return SegmentationLoss(weigh_classes(options.class_weights, self.labels, counts), options.label_smoothing or 0)

    def make_scores(self, prefix: str) -> "MetricCollection":
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassJaccardIndex

        from leyden.tasks.mean_score import MeanScore
        from leyden.tasks.segmentation_loss import SegmentationLoss

        miou = MulticlassJaccardIndex(len(self.labels), average="macro", ignore_index=IGNORED)  # of all pixels together
        return MetricCollection(
            {"loss": MeanScore(SegmentationLoss()), "miou": miou}, compute_groups=False, prefix=prefix
        )


def read_masks(texts: Sequence[str], source: TargetSource) -> MaskCache:
    """Decode each mask once; those that are not readable will be rejected.

    Raises:
        UserError: if none is readable.
    """
    masks = MaskCache()
    for text, result in source.convert(partial(decode_mask, limits=source.settings.limits), texts):
        masks.put(text, result)
    if not masks.contents:
        text, reason = masks.first_unreadable
        raise UserError(f"expected masks in {source.data}; none is readable ({text}: {reason}); save them as PNG files")
    return masks


TASK = Segmentation
