"""Duplicates: examples with the same content (exact), or nearly the same (near)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from leyden.stages.prepare.examples import Example
from leyden.stages.prepare.validation import THUMBNAIL_SHAPE

MIN_SIDE_PX = 16  # the thumbnail of a smaller image is the image itself
MIN_CONTRAST = 32  # between a hashed thumbnail's brightest and darkest pixel; below, the hash is noise
# The correlation of near duplicates is at least this many times closer to 1 than the upper quartile over all pairs of a
# class: images that are alike anyway, such as digits, are paired only if they are the same. Near duplicates do not
# change the quartile unless they are a quarter of a class's pairs. Measured at 6 bits, with the pairs of two labels in
# brackets: 38 (8) pairs in 4,840 different line drawings of 242 symbols, 54 (0) in 1,797 different digits of 32x32,
# none in 897 photographs, and 516 (0) in 60,000 CIFAR images.
FACTOR = 7
MAX_USUAL_CORRELATION = 0.95  # above, a class's images hardly differ at the size of a thumbnail
MAX_CONFLICTING = 0.1  # of the images, in near duplicates with two labels; so many labels are hardly wrong
MIN_CONFLICTING = 20  # allowed in any case: of few images, a single pair is a large fraction
NUM_SAMPLED = 4000  # pairs of one class
MIN_PAIRS = 100  # of one class; fewer do not show how similar images usually are
PAIRS_PER_BLOCK = 4096  # compared at once, in 20 MB
WINDOW = 256  # neighbours compared within a band
NOISE = 1  # difference of neighbouring pixels of a flat area, for example after a JPEG was saved again
BITS_SET = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


class Pair(NamedTuple):
    """Two examples, by their indices; `first` comes first in the data."""

    kind: str
    first: int
    second: int


class Duplicates(NamedTuple):
    """All pairs; `near_applies` is False if near duplicates cannot be distinguished, so that none is listed."""

    pairs: list[Pair]
    near_applies: bool


def exact_pairs(digests: Sequence[str]) -> list[Pair]:
    """Pair each example with the first one of the same content."""
    first_of: dict[str, int] = {}
    return [
        Pair("exact", first, index)
        for index, digest in enumerate(digests)
        if (first := first_of.setdefault(digest, index)) != index
    ]


def find_duplicates(examples: Sequence[Example], max_distance: int) -> Duplicates:
    """Find exact and near duplicates; exact copies are not compared again."""
    exact = exact_pairs([example.content.digest for example in examples])
    copies = {pair.second for pair in exact}
    rows = [index for index in range(len(examples)) if index not in copies]
    buffer = b"".join(examples[index].content.thumbnail for index in rows)
    thumbnails = np.frombuffer(buffer, np.uint8).reshape(-1, *THUMBNAIL_SHAPE)
    sides = np.array([examples[index].content.side for index in rows])
    keys = [examples[index].target.key for index in rows]
    labels = np.unique(keys, return_inverse=True)[1]
    least_correlation = max((example.content.least_correlation for example in examples), default=0.0)
    near = near_pairs(thumbnails, sides, labels, max_distance, least_correlation)
    if near is None:
        return Duplicates(exact, near_applies=False)
    pairs = [Pair("near", rows[first], rows[second]) for first, second in near.tolist()]
    return Duplicates(exact + pairs, near_applies=True)


def near_pairs(
    thumbnails: np.ndarray, sides: np.ndarray, labels: np.ndarray, max_distance: int, least_correlation: float = 0.0
) -> np.ndarray | None:
    """Find pairs (P, 2) of similar difference hashes whose thumbnails correlate far more than usual.

    Return None if the thumbnails do not distinguish near duplicates from other images.

    Args:
        thumbnails: uint8 (N, 16, 18), grey.
        sides: (N,), the shorter side of each image in pixels, or the time steps of a sequence; small ones are left out.
        labels: (N,)
        max_distance: Largest Hamming distance of two near duplicates' hashes.
        least_correlation: Of the thumbnails of near duplicates, however similar the others are.

    Source: N. Krawetz, "Kind of Like That", 2013, hackerfactor.com (dHash).
    """
    blocks = halve(thumbnails)
    rows = np.flatnonzero((sides >= MIN_SIDE_PX) & (np.ptp(blocks, axis=(1, 2)) >= MIN_CONTRAST))
    values, labels = thumbnails.reshape(len(thumbnails), -1)[rows], labels[rows]
    usual = usual_correlation(values, labels)
    if usual > MAX_USUAL_CORRELATION:
        return None
    pairs = similar_hashes(difference_hashes(blocks[rows]), max_distance)
    threshold = max(1 - (1 - usual) / FACTOR, least_correlation)
    pairs = pairs[correlations(values, pairs) >= threshold]
    conflicting = np.unique(pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]])
    if len(conflicting) > max(MIN_CONFLICTING, MAX_CONFLICTING * len(thumbnails)):
        return None
    return rows[pairs]


def usual_correlation(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the upper quartile of the correlation over random pairs of one class, at least 0."""
    order = np.argsort(labels, kind="stable")
    _, starts, classes, counts = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
    if (counts * (counts - 1) // 2).sum() < MIN_PAIRS:
        return 0.0
    generator = np.random.default_rng(0)
    first = generator.choice(np.flatnonzero(counts[classes] > 1), NUM_SAMPLED)
    second = starts[classes[first]] + generator.integers(counts[classes[first]])
    different = first != second
    pairs = np.stack([order[first[different]], order[second[different]]], axis=1)
    return max(0.0, float(np.quantile(correlations(values, pairs), 0.75)))


def correlations(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlate the rows of values (N, D) of each pair (P, 2); a change of brightness or contrast does not matter."""
    results = [np.empty(0, np.float32)]
    for start in range(0, len(pairs), PAIRS_PER_BLOCK):
        both = values[pairs[start : start + PAIRS_PER_BLOCK]].astype(np.float32)  # (P, 2, D)
        both -= both.mean(axis=2, keepdims=True)
        both /= np.linalg.norm(both, axis=2, keepdims=True)  # not 0: they have contrast
        results.append((both[:, 0] * both[:, 1]).sum(axis=1))
    return np.concatenate(results)


def similar_hashes(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Find pairs (P, 2) of hashes uint64 (N,) at most `max_distance` bits apart.

    Two hashes at most d bits apart are equal in at least one of d + 1 bands of bits, so only hashes that share a band
    are compared.
    """
    edges = [round(64 * index / (max_distance + 1)) for index in range(max_distance + 2)]
    bands = [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges)]  # masks of nearly equal length
    similar = [pairs for band in bands for pairs in band_pairs(hashes, band, max_distance)]
    return np.unique(np.sort(np.concatenate([np.empty((0, 2), np.int64), *similar]), axis=1), axis=0)


def halve(thumbnails: np.ndarray) -> np.ndarray:
    """Average blocks of 2x2 pixels of thumbnails uint8 (N, 16, 18) to (N, 8, 9)."""
    rows, columns = THUMBNAIL_SHAPE
    blocks = thumbnails.reshape(-1, rows // 2, 2, columns // 2, 2)
    return np.asarray(blocks.sum(axis=(2, 4), dtype=np.uint16) // 4, np.uint8)


def difference_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Hash thumbnails (N, 8, 9) to uint64 (N,): one bit per pixel, set if it is brighter than its left one."""
    thumbnails = thumbnails.astype(np.int16)
    bits = (thumbnails[:, :, 1:] - thumbnails[:, :, :-1] > NOISE).reshape(len(thumbnails), 64)
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
