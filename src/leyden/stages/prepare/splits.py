"""Which split an example falls in, and whether one split leaks into another."""

import hashlib
from collections.abc import Sequence

from leyden.errors import UserError
from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Examples


def draw_splits(examples: Examples, seed: int, val_fraction: float, test_fraction: float) -> list[str]:
    """Draw a split where the user gave none; what the user gave is not drawn once more."""
    candidates = examples.candidates
    given = {candidate.split for candidate in candidates}
    to_test = 0.0 if "test" in given else test_fraction
    bounds = to_test, to_test + (0.0 if "val" in given else val_fraction)
    keys = split_keys([candidate.group for candidate in candidates], examples.digests)
    return [candidate.split or split_of(key, seed, bounds) for candidate, key in zip(candidates, keys, strict=True)]


def split_of(key: str, seed: int, bounds: tuple[float, float]) -> str:
    """Draw a split from an example's key alone, so that adding or removing a file moves no other."""
    draw = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    unit = int.from_bytes(draw[:8], "big") / 2**64
    return "test" if unit < bounds[0] else "val" if unit < bounds[1] else "train"


def split_keys(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """Give examples that must stay together one key: their content's hash, or their group; groups that share an image are one."""
    parents: dict[str, str] = {}
    owners: dict[str, str] = {}

    def root(group: str) -> str:
        while (parent := parents.get(group, group)) != group:
            group = parent
        return group

    for group, digest in zip(groups, digests, strict=True):
        if group:
            low, high = sorted((root(group), root(owners.setdefault(digest, group))))
            parents[high] = low
    return [f"group:{root(owners[digest])}" if digest in owners else digest for digest in digests]


def check_leakage(candidates: Sequence[Candidate], splits: Sequence[str], pairs: Sequence[Pair], allowed: bool) -> int:
    """Count the images and groups that lie in two splits.

    Raises:
        UserError: if there are any and that is not allowed.
    """
    first_of: dict[str, int] = {}
    leaks = [
        (pair.first, pair.second)
        for pair in pairs
        if pair.kind == "exact" and splits[pair.first] != splits[pair.second]
    ]
    for number, candidate in enumerate(candidates):
        if candidate.group and splits[number] != splits[first := first_of.setdefault(candidate.group, number)]:
            leaks.append((first, number))
    if leaks and not allowed:
        named = "; ".join(
            f"{candidates[first].path} ({splits[first]}) and {candidates[second].path} ({splits[second]})"
            for first, second in leaks[:3]
        )
        raise UserError(
            f"expected no image and no group in two splits; got {len(leaks)} such pairs: {named}; "
            "remove one of each, or set allow_leakage in configs/prepare.yaml"
        )
    return len(set(leaks))
