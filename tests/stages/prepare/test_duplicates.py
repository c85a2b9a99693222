"""Near duplicates are found among many images, and different images are not paired."""

import csv

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from leyden.stages.prepare.duplicates import BITS_SET, difference_hashes, exact_pairs, near_pairs
from tests.stages.test_prepare import prepare


def test_exact_copies_are_paired_with_the_first_one():
    assert [tuple(pair) for pair in exact_pairs(["a", "b", "a", "c", "a", "b"])] == [
        ("exact", 0, 2),
        ("exact", 0, 4),
        ("exact", 1, 5),
    ]


def test_a_hash_has_a_bit_for_each_increase_of_brightness():
    thumbnail = np.zeros((1, 8, 9), np.uint8)
    assert difference_hashes(thumbnail)[0] == 0
    thumbnail[0, 0, 1] = 9  # the first pair of the first row
    assert difference_hashes(thumbnail)[0] == 1 << 63
    thumbnail[0, 7, 8] = 9
    assert difference_hashes(thumbnail)[0] == (1 << 63) + 1


@pytest.mark.parametrize("max_distance", [0, 3, 6, 15])
def test_bands_find_what_comparing_all_pairs_finds(max_distance):
    generator = np.random.default_rng(0)
    thumbnails = generator.integers(0, 256, (400, 8, 9), np.uint8)
    thumbnails[200:] = np.clip(
        thumbnails[:200] + generator.normal(0, np.linspace(0, 20, 200)[:, None, None], (200, 8, 9)), 0, 255
    ).astype(np.uint8)
    hashes = difference_hashes(thumbnails)
    distances = BITS_SET[(hashes[:, None] ^ hashes).view(np.uint16).reshape(400, 400, 4)].sum(-1)
    differences = np.abs(thumbnails[:, None].astype(int) - thumbnails).mean((2, 3))
    expected = {
        (i, j) for i, j in zip(*np.nonzero((distances <= max_distance) & (differences <= 10)), strict=True) if i < j
    }
    pairs = near_pairs(thumbnails, np.full(400, 32), max_distance)
    assert {(pair.first, pair.second) for pair in pairs} == expected
    assert len(expected) > 3


def test_uniform_and_small_images_are_ignored():
    thumbnails = np.random.default_rng(0).integers(0, 256, (1, 8, 9), np.uint8).repeat(2, axis=0)
    assert len(near_pairs(thumbnails, np.array([16, 16]), 0)) == 1
    assert near_pairs(thumbnails, np.array([16, 15]), 0) == []
    assert near_pairs(thumbnails // 16, np.array([16, 16]), 0) == []


def test_thousands_of_copies_are_paired_with_some_of_the_others():
    thumbnails = np.random.default_rng(0).integers(0, 256, (1, 8, 9), np.uint8).repeat(3000, axis=0)
    pairs = near_pairs(thumbnails, np.full(3000, 32), 6)
    assert len(pairs) < 20_000
    assert len({number for pair in pairs for number in pair[1:]}) == 3000


def test_a_resaved_image_is_a_near_duplicate_across_classes(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(30):
            noise = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8)).resize(
                (64, 48), Image.Resampling.BICUBIC
            )
            noise.save(tmp_path / "data" / name / f"{number}.png")
    with Image.open(tmp_path / "data/a/7.png") as image:
        ImageEnhance.Brightness(image.resize((80, 60))).enhance(1.03).save(tmp_path / "data/b/again.jpg", quality=80)
        image.save(tmp_path / "data/b/same.bmp")
    counts = prepare(tmp_path / "data", tmp_path / "out")["duplicates"]
    assert (counts["exact"], counts["conflicts"], counts["near"], counts["near_conflicts"]) == (1, 1, 1, 1)
    with open(tmp_path / "out/duplicates.csv", newline="", encoding="utf-8") as file:
        rows = [
            (row["kind"], row["path"], row["other"], row["label"], row["other_label"]) for row in csv.DictReader(file)
        ]
    assert rows == [("exact", "b/same.bmp", "a/7.png", "b", "a"), ("near", "b/again.jpg", "a/7.png", "b", "a")]
