"""Duplicates: examples with the same content (exact), or nearly the same (near)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from leyden.stages.prepare.examples import Example
from leyden.stages.prepare.validation import THUMBNAIL_SHAPE

# The thumbnail of a smaller image is the image itself: among 1,797 different digits of 8x8, 18 pairs are found, and
# 22,289 by the hash alone.
MIN_SIDE_PX = 16
MIN_CONTRAST = 32  # between a thumbnail's brightest and darkest pixel; below, the hash is noise
# Mean over a thumbnail's pixels, of 255. At 6 bits this confirms 226 of the 946 pairs that hashes suggest in 60,000
# CIFAR images; none of the 226 has two labels, 302 of the 946 do.
MAX_DIFFERENCE = 10
WINDOW = 256  # neighbours compared within a band; this finds 226 of 227 pairs in 60,000 CIFAR images
BITS_SET = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


class Pair(NamedTuple):
    """Two examples, by their indices; `first` comes first in the data."""

    kind: str
    first: int
    second: int


def exact_pairs(digests: Sequence[str]) -> list[Pair]:
    """Pair each example with the first one of the same content."""
    first_of: dict[str, int] = {}
    return [
        Pair("exact", first, index)
        for index, digest in enumerate(digests)
        if (first := first_of.setdefault(digest, index)) != index
    ]


def near_pairs(thumbnails: np.ndarray, sides: np.ndarray, max_distance: int) -> list[Pair]:
    """Find examples with similar difference hashes and similar thumbnails.

    Two hashes at most d bits apart are equal in at least one of d + 1 bands of bits, so only hashes that share a band
    are compared.

    Args:
        thumbnails: uint8 (N, 8, 9), grey.
        sides: (N,), the shorter side of each image in pixels, or the time steps of a sequence; small ones are left out.
        max_distance: Largest Hamming distance of two near duplicates' hashes.

    Source: N. Krawetz, "Kind of Like That", 2013, hackerfactor.com (dHash).
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    rows = np.flatnonzero((sides >= MIN_SIDE_PX) & (np.ptp(flat, axis=1) >= MIN_CONTRAST))
    hashes = difference_hashes(thumbnails[rows])
    edges = [round(64 * index / (max_distance + 1)) for index in range(max_distance + 2)]
    bands = [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges)]  # masks of nearly equal length
    similar = [pairs for band in bands for pairs in band_pairs(hashes, band, max_distance)]
    pairs = np.unique(np.sort(np.concatenate([np.empty((0, 2), np.int64), *similar]), axis=1), axis=0)
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    difference = np.abs(flat[first].astype(np.int16) - flat[second]).mean(axis=1)
    is_near = difference <= MAX_DIFFERENCE
    return [Pair("near", *pair) for pair in zip(first[is_near].tolist(), second[is_near].tolist(), strict=True)]


def find_pairs(examples: Sequence[Example], max_distance: int) -> list[Pair]:
    """Find exact and near duplicates; exact copies are not compared again."""
    exact = exact_pairs([example.content.digest for example in examples])
    copies = {pair.second for pair in exact}
    rows = [index for index in range(len(examples)) if index not in copies]
    thumbnails = b"".join(examples[index].content.thumbnail for index in rows)
    sides = np.array([examples[index].content.side for index in rows])
    near = near_pairs(np.frombuffer(thumbnails, np.uint8).reshape(-1, *THUMBNAIL_SHAPE), sides, max_distance)
    return exact + [Pair(kind, rows[first], rows[second]) for kind, first, second in near]


def difference_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Hash thumbnails (N, 8, 9) to uint64 (N,): one bit per pixel, set if it is brighter than its left neighbour."""
    rows, columns = THUMBNAIL_SHAPE
    bits = (thumbnails[:, :, 1:] > thumbnails[:, :, :-1]).reshape(len(thumbnails), rows * (columns - 1))
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def band_pairs(hashes: np.ndarray, band: np.uint64, max_distance: int) -> Iterator[np.ndarray]:
    """Compare hashes that are equal in a band with those that follow them in the order of (band, other bits).

    Stops after about as many pairs as hashes: if thousands of images are similar, each is paired with some of the
    others.
    """
    keys = hashes & band
    order = np.lexsort((hashes, keys))
    keys, ordered = keys[order], hashes[order]
    num_pairs = 0
    for shift in range(1, min(WINDOW, len(order) - 1) + 1):
        same = np.flatnonzero(keys[shift:] == keys[:-shift])
        if not len(same) or num_pairs > len(hashes):
            return
        distance = BITS_SET[(ordered[same] ^ ordered[same + shift]).view(np.uint16).reshape(-1, 4)].sum(axis=1)
        near = same[distance <= max_distance]
        num_pairs += len(near)
        yield np.stack([order[near], order[near + shift]], axis=1)
