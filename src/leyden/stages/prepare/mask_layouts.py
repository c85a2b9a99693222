"""Layouts of images and masks that are not read, but recognised, so that nobody trains on masks as on images."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from leyden.stages.prepare.archives import FileEntry
from leyden.stages.prepare.layout import NOT_CLASSES, split_of

# Cityscapes has x_leftImg8bit.png and x_gtFine_labelIds.png; many others x.jpg and x_mask.png.
IMAGE_ENDING = re.compile(r"[ _-](leftimg8bit|image|img|sat)$")
MASK_ENDING = re.compile(r"[ _-](gtfine_labelids|gtcoarse_labelids|masks?|labels?|seg|segmentation|gt)$")
IMAGE_FOLDERS = NOT_CLASSES | {"leftimg8bit"}
MASK_FOLDERS = {"mask", "masks", "label", "labels", "annotations", "segmentationclass", "gtfine", "gt", "groundtruth"}


def find_mask(files: Sequence[FileEntry]) -> tuple[FileEntry, FileEntry] | None:
    """Return the first image and its mask if half of the masks that names suggest, or more, belong to an image.

    A mask is named like its image, with an ending (x_mask.png), or is in a folder of masks (SegmentationClass/x.png)
    while its image is in one of images or of a split: alone, such a folder could be a class.
    """
    images: dict[str, FileEntry] = {}
    masks: list[tuple[str, FileEntry]] = []
    for file in files:
        stem = PurePosixPath(file.parts[-1]).stem.lower()
        folders = {part.lower() for part in file.parts[:-1]}
        if MASK_ENDING.search(stem):
            masks.append((MASK_ENDING.sub("", stem), file))
        elif folders & MASK_FOLDERS:
            masks.append((stem, file))
        else:
            images.setdefault(IMAGE_ENDING.sub("", stem), file)
    pairs = [(images[key], mask) for key, mask in masks if key in images and is_certain(images[key], mask)]
    return pairs[0] if pairs and 2 * len(pairs) >= len(masks) else None


def is_certain(image: FileEntry, mask: FileEntry) -> bool:
    """Check that two files are no examples of two classes, such as mask/1.png and no_mask/1.png."""
    folders = [part.lower() for part in image.parts[:-1]]
    has_ending = MASK_ENDING.search(PurePosixPath(mask.parts[-1]).stem.lower()) is not None
    return has_ending or bool(IMAGE_FOLDERS & set(folders)) or all(map(split_of, folders))
