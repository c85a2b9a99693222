"""Splits: which one an example belongs to, and leakage between them."""

import hashlib
from collections.abc import Sequence

from leyden.errors import UserError
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Example


def assign_splits(examples: Sequence[Example], seed: int, val_fraction: float, test_fraction: float) -> None:
    """Set each example's split to the user's or draw it; test and val are not drawn if the user has assigned some."""
    user_splits = {example.candidate.split for example in examples}
    test_bound = 0.0 if "test" in user_splits else test_fraction
    bounds = test_bound, test_bound + (0.0 if "val" in user_splits else val_fraction)
    groups = [example.candidate.group for example in examples]
    keys = split_keys(groups, [example.content.digest for example in examples])
    for example, key in zip(examples, keys, strict=True):
        example.split = example.candidate.split or draw_split(key, seed, bounds)


def draw_split(key: str, seed: int, bounds: tuple[float, float]) -> str:
    """Draw a split from an example's key alone, so that adding or removing a file does not move any other."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    uniform = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if uniform < bounds[0] else "val" if uniform < bounds[1] else "train"


def split_keys(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """Return a key for each example; those that must be in the same split have the same one.

    The key is the hash of the content, or the group; groups that share content are merged.
    """
    parents: dict[str, str] = {}
    group_of: dict[str, str] = {}

    def root(group: str) -> str:
        while (parent := parents.get(group, group)) != group:
            group = parent
        return group

    for group, digest in zip(groups, digests, strict=True):
        if group:
            low, high = sorted((root(group), root(group_of.setdefault(digest, group))))
            parents[high] = low
    return [f"group:{root(group_of[digest])}" if digest in group_of else digest for digest in digests]


def check_leakage(examples: Sequence[Example], pairs: Sequence[Pair], is_allowed: bool) -> int:
    """Count the images and groups that are in two splits; unless that is allowed, any is an error."""
    first_of_group: dict[str, int] = {}
    leaks = [
        (pair.first, pair.second)
        for pair in pairs
        if pair.kind == "exact" and examples[pair.first].split != examples[pair.second].split
    ]
    for index, example in enumerate(examples):
        group = example.candidate.group
        if group and example.split != examples[first := first_of_group.setdefault(group, index)].split:
            leaks.append((first, index))
    if leaks and not is_allowed:
        named = "; ".join(
            " and ".join(f"{examples[index].path} ({examples[index].split})" for index in leak) for leak in leaks[:3]
        )
        raise UserError(
            f"expected no image and no group in two splits; got {len(leaks)} such pairs: {named}; "
            "remove one of each, or set allow_leakage in configs/prepare.yaml"
        )
    return len(set(leaks))
