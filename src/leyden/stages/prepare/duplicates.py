"""Images that occur twice: the same pixels (exact), or nearly the same picture (near)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from leyden.stages.prepare.examples import AnyJudged
from leyden.stages.prepare.validation import THUMB_SHAPE

MIN_SIDE_PX = 16  # below, the miniature is the image itself: of 1,797 digits of 8x8 it pairs 18, each drawn anew, and the hash alone 22,289
MIN_CONTRAST = 32  # between a miniature's brightest and darkest pixel; below, the hash is noise
# Mean over a miniature's pixels, of 255. At 6 bits this confirms 226 of the 946 pairs that hashes suggest in 60,000 CIFAR images;
# none of the 226 has two labels, 302 of the 946 do.
MAX_DIFFERENCE = 10
WINDOW = 256  # neighbours compared within a band: finds 226 of 227 pairs in 60,000 CIFAR images
BITS_SET = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


class Pair(NamedTuple):
    """Two examples, by their numbers; `first` comes first in the data."""

    kind: str
    first: int
    second: int


def exact_pairs(digests: Sequence[str]) -> list[Pair]:
    """Pair each image with the first one of the same pixels."""
    first: dict[str, int] = {}
    return [
        Pair("exact", found, number)
        for number, digest in enumerate(digests)
        if (found := first.setdefault(digest, number)) != number
    ]


def near_pairs(thumbs: np.ndarray, sides: np.ndarray, max_distance: int) -> list[Pair]:
    """Find images whose difference hashes lie close together and whose miniatures agree.

    Two hashes at most d bits apart agree wholly in one of d + 1 bands of bits, so only images that share a band are compared.

    Args:
        thumbs: uint8 (N, 8, 9), grey miniatures.
        sides: (N,), the shorter side of each image in pixels, or the time steps of a sequence; small ones are left out.
        max_distance: Largest Hamming distance of two near duplicates' hashes.

    Source: N. Krawetz, "Kind of Like That", 2013, hackerfactor.com (dHash).
    """
    flat = thumbs.reshape(len(thumbs), -1)
    rows = np.flatnonzero((sides >= MIN_SIDE_PX) & (np.ptp(flat, axis=1) >= MIN_CONTRAST))
    hashes = difference_hashes(thumbs[rows])
    found = [pairs for band in bands(max_distance + 1) for pairs in band_pairs(hashes, band, max_distance)]
    pairs = np.unique(np.sort(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=1), axis=0)
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    difference = np.abs(flat[first].astype(np.int16) - flat[second]).mean(axis=1)
    close = difference <= MAX_DIFFERENCE
    return [Pair("near", *pair) for pair in zip(first[close].tolist(), second[close].tolist(), strict=True)]


def find_pairs(judged: Sequence[AnyJudged], near_duplicate_distance: int) -> list[Pair]:
    """Find examples that occur twice; those of the same content are not near duplicates too."""
    exact = exact_pairs([image.digest for image in judged])
    copies = {pair.second for pair in exact}
    rows = [number for number in range(len(judged)) if number not in copies]
    thumbs = np.frombuffer(b"".join(judged[number].thumb for number in rows), np.uint8).reshape(-1, *THUMB_SHAPE)
    sides = np.array([judged[number].side for number in rows])
    near = near_pairs(thumbs, sides, near_duplicate_distance)
    return exact + [Pair(kind, rows[first], rows[second]) for kind, first, second in near]


def difference_hashes(thumbs: np.ndarray) -> np.ndarray:
    """Hash miniatures (N, 8, 9) to uint64 (N,): a bit per pixel that is brighter than the one to its left."""
    rows, columns = THUMB_SHAPE
    bits = (thumbs[:, :, 1:] > thumbs[:, :, :-1]).reshape(len(thumbs), rows * (columns - 1))
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def bands(count: int) -> Iterator[np.uint64]:
    """Cut 64 bits into masks of nearly equal length."""
    edges = [round(64 * number / count) for number in range(count + 1)]
    for low, high in pairwise(edges):
        yield np.uint64((1 << high) - (1 << low))


def band_pairs(hashes: np.ndarray, band: np.uint64, max_distance: int) -> Iterator[np.ndarray]:
    """Compare hashes that agree in a band with those that follow them in the order of (band, other bits).

    Ends with as many pairs as hashes: where thousands of images look alike, each is named with some of its neighbours.
    """
    keys = hashes & band
    order = np.lexsort((hashes, keys))
    keys, ordered = keys[order], hashes[order]
    num_found = 0
    for shift in range(1, min(WINDOW, len(order) - 1) + 1):
        same = np.flatnonzero(keys[shift:] == keys[:-shift])
        if not len(same) or num_found > len(hashes):
            return
        distance = BITS_SET[(ordered[same] ^ ordered[same + shift]).view(np.uint16).reshape(-1, 4)].sum(axis=1)
        close = same[distance <= max_distance]
        num_found += len(close)
        yield np.stack([order[close], order[close + shift]], axis=1)
