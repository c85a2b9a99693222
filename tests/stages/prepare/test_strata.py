"""Each class gets about its share of each split, and added images hardly move any other."""

from collections import Counter

import pytest

from leyden.stages.prepare.strata import Strata, Unit, draw_unit

FRACTIONS = {"test": 0.2, "val": 0.15}


def split_class(names, seed=0, label="a", fractions=FRACTIONS):
    """Return the split of each image of a class."""
    units = {name: draw_unit(str(name), seed, fractions) for name in names}
    for unit in units.values():
        unit.counts[label] += 1
    Strata(units.values(), fractions, Counter()).repair()
    return {name: unit.split for name, unit in units.items()}


def num_moved(before, after):
    return sum(after[name] != split for name, split in before.items() if name in after)


@pytest.mark.parametrize(
    ("count", "val", "test"),
    [(1, (0, 0), (0, 0)), (2, (0, 0), (1, 1)), (3, (1, 1), (1, 1)), (5, (1, 1), (1, 1)), (10, (1, 2), (2, 2)),
     (20, (2, 4), (3, 5)), (100, (10, 20), (13, 27)), (1000, (98, 202), (130, 270))],
)  # fmt: skip
def test_a_class_gets_about_its_share(count, val, test):
    totals = Counter()
    num_seeds = 100 if count < 1000 else 5
    for seed in range(num_seeds):
        counts = Counter(split_class(range(count), seed).values())
        assert val[0] <= counts["val"] <= val[1]
        assert test[0] <= counts["test"] <= test[1]
        assert counts["train"] >= max(1, count // 2)
        totals += counts
    if count >= 10:
        assert totals["test"] / num_seeds / count == pytest.approx(0.2, abs=0.015)
        assert totals["val"] / num_seeds / count == pytest.approx(0.15, abs=0.015)


@pytest.mark.parametrize("fractions", [(0.9, 0.05), (0.6, 0.3), (0.5, 0.4), (0.45, 0.45), (0.01, 0.01)])
def test_a_class_of_three_is_in_every_split_whatever_the_fractions(fractions):
    for count in range(3, 30):
        for seed in range(10):
            splits = split_class(range(count), seed, fractions=dict(zip(("test", "val"), fractions, strict=True)))
            assert len(set(splits.values())) == 3


def test_an_added_image_moves_at_most_three_others():
    most = Counter()
    for seed in range(15):
        before = split_class(range(1), seed)
        for count in range(2, 60):
            after = split_class(range(count), seed)
            most["any"] = max(most["any"], num_moved(before, after))
            is_test = [{name: split == "test" for name, split in splits.items()} for splits in (before, after)]
            most["test"] = max(most["test"], num_moved(*is_test))
            before = after
    assert most["any"] <= 3
    assert most["test"] == 1


@pytest.mark.parametrize(
    ("count", "expected"), [(20, {1: 0.6, 10: 1.1, 100: 1.4}), (100, {1: 0.25, 10: 0.4, 100: 0.6})]
)
def test_few_images_move_in_small_classes(count, expected):
    for added, most in expected.items():
        moved = [num_moved(split_class(range(count), s), split_class(range(count + added), s)) for s in range(100)]
        assert sum(moved) / len(moved) <= most


def test_no_image_moves_in_a_large_class():
    drawn = {name: draw_unit(str(name), 0, FRACTIONS).split for name in range(1100)}
    for names in (range(1000), range(1001), range(1100), range(50, 1000)):
        assert num_moved(drawn, split_class(names)) == 0


def units_of(*groups):
    """Make units of (position, split, counts by label)."""
    return [Unit(position, split, Counter(counts)) for position, split, counts in groups]


def repaired(units, fractions=FRACTIONS, num_training=None):
    Strata(units, fractions, Counter(num_training or {})).repair()
    return [unit.split for unit in units]


def test_those_nearest_the_bounds_are_moved():
    units = units_of(*((index / 20, "train", {"a": 1}) for index in range(20)))
    assert repaired(units) == ["test"] * 3 + ["val"] * 2 + ["train"] * 15
    units = units_of(*((index / 20, "test", {"a": 1}) for index in range(20)))
    assert repaired(units) == ["test"] * 5 + ["val"] * 4 + ["train"] * 11


def test_a_class_within_its_share_is_left_alone():
    splits = ["test"] * 5 + ["val"] * 2 + ["train"] * 13
    units = units_of(*((index / 20, split, {"a": 1}) for index, split in enumerate(splits)))
    units += units_of(*((index / 20, "train", {"b": 1}) for index in range(20)))
    assert repaired(units)[:20] == splits


def test_large_groups_make_room_for_those_that_fit():
    units = units_of((0.05, "test", {"a": 28}), (0.1, "test", {"a": 10}), (0.5, "train", {"a": 10}))
    assert sorted(repaired(units)) == ["test", "train", "val"]
    assert units[0].split == "train"


def test_groups_of_several_classes_reach_every_split():
    units = units_of(*((index / 5, "test", dict.fromkeys("abcdefghij", 4)) for index in range(5)))
    assert set(repaired(units)) == {"test", "val", "train"}


def test_a_class_keeps_a_training_example():
    assert repaired(units_of((0.1, "test", {"a": 9}))) == ["train"]
    assert repaired(units_of((0.1, "test", {"a": 1}), (0.15, "test", {"a": 1}))) == ["test", "train"]
    assert repaired(units_of((0.1, "test", {"a": 1})), num_training={"a": 3}) == ["test"]


def test_only_val_is_drawn_if_the_user_has_a_test_split():
    assert Counter(split_class(range(20), 3, fractions={"val": 0.15}).values()).keys() == {"train", "val"}
