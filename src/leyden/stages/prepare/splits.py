"""Splits: which one an example belongs to, and leakage between them."""

from collections import Counter
from collections.abc import Sequence

from leyden.errors import UserError
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Example
from leyden.stages.prepare.strata import Strata, Unit, draw_unit


def assign_splits(
    examples: Sequence[Example], strata: Sequence[str], seed: int, val_fraction: float, test_fraction: float
) -> None:
    """Set each example's split to the user's or draw it; test and val are not drawn if the user has assigned some."""
    user_splits = {example.candidate.split for example in examples}
    fractions = {"test": test_fraction, "val": val_fraction}
    fractions = {split: fraction for split, fraction in fractions.items() if split not in user_splits}
    groups = [example.candidate.group for example in examples]
    keys = split_keys(groups, [example.content.digest for example in examples])
    units: dict[str, Unit] = {}
    num_training: Counter[str] = Counter()  # by stratum, of those that the user assigned
    for example, key, stratum in zip(examples, keys, strata, strict=True):
        example.key = key
        if not example.candidate.split:
            if key not in units:
                units[key] = draw_unit(key, seed, fractions)
            units[key].counts[stratum] += 1
        elif example.candidate.split == "train":
            num_training[stratum] += 1
    Strata(units.values(), fractions, num_training).repair()
    for example in examples:
        example.split = example.candidate.split or units[example.key].split


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
