"""Near duplicates are found among many images, and different images are not paired."""

import csv

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from leyden.stages.prepare.duplicates import (
    BITS_SET,
    correlations,
    difference_hashes,
    exact_pairs,
    near_pairs,
    similar_hashes,
    usual_correlation,
)
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
    hashes = generator.integers(0, 1 << 64, 200, np.uint64)
    flips = [sum(1 << int(bit) for bit in generator.choice(64, index % 20, replace=False)) for index in range(200)]
    hashes = np.concatenate([hashes, hashes ^ np.array(flips, np.uint64)])
    distances = BITS_SET[(hashes[:, None] ^ hashes).view(np.uint16).reshape(400, 400, 4)].sum(-1)
    expected = {(i, j) for i, j in zip(*np.nonzero(distances <= max_distance), strict=True) if i < j}
    assert set(map(tuple, similar_hashes(hashes, max_distance).tolist())) == expected
    assert len(expected) > 3


def test_uniform_and_small_images_are_ignored():
    thumbnails = np.random.default_rng(0).integers(0, 256, (1, 8, 9), np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    thumbnails, labels = thumbnails.repeat(2, axis=0), np.zeros(2, int)
    assert near_pairs(thumbnails, np.array([16, 16]), labels, 0).tolist() == [[0, 1]]
    assert near_pairs(thumbnails, np.array([16, 15]), labels, 0).tolist() == []
    assert near_pairs(thumbnails // 16, np.array([16, 16]), labels, 0).tolist() == []


def test_thousands_of_copies_are_paired_with_some_of_the_others():
    pairs = similar_hashes(np.full(3000, 12345, np.uint64), 6)
    assert len(pairs) < 20_000
    assert len(np.unique(pairs)) == 3000


def test_a_change_of_brightness_or_contrast_does_not_change_the_correlation():
    values = np.random.default_rng(0).integers(0, 100, (2, 288))
    both = np.concatenate([values, values * 2 + 20]).astype(np.uint8)
    assert correlations(both, np.array([[0, 2], [1, 3]])) == pytest.approx([1, 1])
    assert abs(correlations(both, np.array([[0, 1]]))[0]) < 0.3


@pytest.mark.parametrize(("num_near", "expected"), [(0, 0.0), (10, 0.0), (40, 1.0)])
def test_a_few_near_duplicates_do_not_change_what_is_usual(num_near, expected):
    values = np.random.default_rng(0).integers(0, 256, (60, 288), np.uint8)
    values[:num_near] = values[0]
    assert usual_correlation(values, np.zeros(60, int)) == pytest.approx(expected, abs=0.1)
    assert usual_correlation(values, np.arange(60)) == 0  # no class with two


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
