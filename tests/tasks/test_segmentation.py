"""Masks are read, checked and packed in the geometry of their images; the loss and the scores are exact."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torch.nn import functional as F

from leyden.data.augment import Augment
from leyden.data.datamodule import ImageData
from leyden.data.packed import read_split
from leyden.errors import UserError
from leyden.tasks import load_task
from leyden.tasks.segmentation_loss import SegmentationLoss
from leyden.tasks.targets import LossOptions
from tests.conftest import REPO
from tests.data.test_datamodule import training_batches
from tests.stages.test_prepare import prepare

SIDE, COUNT = 24, 40
LABELS = ["dark", "bright"]
TASK = load_task({"labels": ["ground", "cat", "dog"], "task": {"name": "segmentation", "pixel_counts": [60, 30, 10]}})
LOGITS = torch.randn(7, 3, 5, 6, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(0, 3, (7, 5, 6), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
IGNORED = TARGETS.clone()
IGNORED[:, :2] = 255


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rectangles(tmp_path / "data")


def write_rectangles(folder: Path) -> Path:
    """Write images with a bright rectangle of at least half of each side, and masks of where it is."""
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        top, left, height, width = *generator.integers(2, 10, 2), *generator.integers(12, 15, 2)
        mask[top : top + height, left : left + width] = 1
        write_png(folder / f"images/{number:02}.png", (mask * 200 + 20).astype(np.uint8))
        write_png(folder / f"masks/{number:02}.png", mask)
    (folder / "classes.csv").write_text("value,name\n0,dark\n1,bright\n")
    return folder


def thresholded(images: np.ndarray) -> np.ndarray:
    return (images[..., 0] > 120).astype(np.uint8)


def test_images_and_masks_of_the_same_stems_are_paired(data, tmp_path):
    report = prepare(data, tmp_path / "out")
    assert report["task"]["name"] == "segmentation"
    assert report["labels"] == LABELS
    assert report["left_out"] == []
    assert report["counts"]["train"] == dict.fromkeys(LABELS, report["sizes"]["train"])
    images, targets = read_split(tmp_path / "out", "train")
    assert targets.dtype == np.uint8
    assert np.array_equal(targets, thresholded(images))
    pixels = [int((targets == 0).sum()), int((targets == 1).sum())]
    assert report["task"] | {"palette": None} == {
        "name": "segmentation",
        "values": [0, 1],
        "palette": None,
        "ignore_value": 255,
        "pixel_counts": pixels,
    }


def test_classes_are_the_values_that_masks_hold_without_a_table(data, tmp_path):
    (data / "classes.csv").unlink()
    for path in data.glob("masks/*"):
        write_png(path, np.asarray(Image.open(path)) * 254)  # 0 and 254
    task = prepare(data, tmp_path / "out")
    assert task["labels"] == ["0", "254"]
    assert task["task"]["values"] == [0, 254]


def test_colours_of_palettes_are_kept(data, tmp_path):
    for path in data.glob("masks/*"):
        mask = Image.open(path).convert("P")
        mask.putpalette([10, 20, 30, 200, 100, 0])
        mask.save(path)
    (data / "classes.csv").unlink()
    assert prepare(data, tmp_path / "out")["task"]["palette"] == ["#0a141e", "#c86400"]


def test_folders_are_classes_if_the_user_says_so(data, tmp_path):
    assert prepare(data, tmp_path / "out", "--class_depth=1")["labels"] == ["images", "masks"]


def test_what_has_no_counterpart_is_left_out_and_counted(data, tmp_path, capsys):
    (data / "masks/00.png").unlink()
    (data / "images/01.png").unlink()
    (data / "notes.txt").write_text("")
    (data / "masks/02.json").write_text("{}")
    rows = prepare(data, tmp_path / "out")["left_out"]
    assert {row["reason"]: row["examples"] for row in rows} == {
        "images without a file in masks/": ["images/00.png"],
        "files in masks/ without an image": ["masks/01.png"],
        "files outside of images/ and masks/": ["notes.txt"],
        ".json files (not images)": ["masks/02.json"],
    }


def test_masks_that_do_not_fit_are_rejected_with_the_reason(data, tmp_path):
    write_png(data / "masks/00.png", np.zeros((SIDE, SIDE + 1), np.uint8))
    write_png(data / "masks/01.png", np.full((SIDE, SIDE), 7, np.uint8))
    write_png(data / "masks/02.png", np.full((SIDE, SIDE), 255, np.uint8))
    prepare(data, tmp_path / "out", "--max_rejected_fraction=0.5")
    assert (tmp_path / "out/rejected.csv").read_text().splitlines() == [
        "path,reason",
        "images/00.png,mask masks/00.png: has 25x24 pixels; its image has 24x24",
        '"images/01.png","mask masks/01.png: holds the value 7, which is no class"'.replace(
            '"images/01.png"', "images/01.png"
        ),
        "images/02.png,mask masks/02.png: no pixel is of a class",
    ]


def test_unreadable_masks_are_an_error_with_the_reason(data, tmp_path, error_of):
    (data / "classes.csv").unlink()
    for path in data.glob("masks/*"):
        path.write_bytes(b"no image")
    line = error_of("prepare", f"--data={data}", f"--out={tmp_path}/out")
    assert "none is readable (masks/00.png: not an image" in line


def write_manifest(data: Path, masks: dict[int, str] | None = None) -> None:
    rows = [f"images/{n:02}.png,{(masks or {}).get(n, f'masks/{n:02}.png')}" for n in range(COUNT)]
    (data / "manifest.csv").write_text("\n".join(["path,mask", *rows]) + "\n")


def test_a_manifest_names_masks(data, tmp_path):
    write_manifest(data)
    (data / "masks").rename(data / "elsewhere")
    write_manifest(data, {n: rf".\elsewhere\{n:02}.png" for n in range(COUNT)})
    report = prepare(data, tmp_path / "out")
    assert report["left_out"] == []
    images, targets = read_split(tmp_path / "out", "train")
    assert np.array_equal(targets, thresholded(images))
    assert "elsewhere/00.png" in (tmp_path / "out/manifest.csv").read_text()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("masks/99.png", "expected the file 'masks/99.png' that"),
        ("../masks/01.png", "expected relative paths inside the data folder"),
        ("/etc/passwd", "expected relative paths inside the data folder"),
    ],
)
def test_a_manifest_names_only_masks_of_the_folder(data, tmp_path, error_of, mask, expected):
    write_png(data.parent / "masks/01.png", np.zeros((SIDE, SIDE), np.uint8))
    write_manifest(data, {3: mask})
    line = error_of("prepare", f"--data={data}", f"--out={tmp_path}/out")
    assert expected in line
    assert "manifest.csv, row 5" in line


def test_sequences_are_refused(tmp_path, error_of):
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data/a.npy", np.zeros((4, 2), np.float32))
    write_png(tmp_path / "data/a.png", np.zeros((4, 2), np.uint8))
    (tmp_path / "data/manifest.csv").write_text("path,mask\na.npy,a.png\n")
    line = error_of("prepare", f"--data={tmp_path}/data", f"--out={tmp_path}/out")
    assert "expected images for segmentation; got sequences" in line


def test_masks_are_stored_in_the_size_of_their_images(data, tmp_path):
    report = prepare(data, tmp_path / "out", "--image_size=[10, 15]", "--crop_margin=1.8")
    images, targets = read_split(tmp_path / "out", "train")
    assert np.load(tmp_path / "out/train.targets.npy").shape[1:] == tuple(report["stored_size"]) == (18, 27)
    assert targets.shape == images.shape[:3] == (report["sizes"]["train"], 10, 15)
    assert (targets != thresholded(images)).mean() < 0.03


def test_every_split_has_the_rarest_class(data, tmp_path, capsys):
    (data / "classes.csv").unlink()
    rare = [f"{number:02}.png" for number in range(9)]
    for name in rare:
        mask = np.asarray(Image.open(data / "masks" / name)).copy()
        mask[:2, :2] = 2
        write_png(data / "masks" / name, mask)
    counts = prepare(data, tmp_path / "out")["counts"]
    assert {split: counts[split]["2"] for split in counts} == {"train": 6, "val": 1, "test": 2}
    assert "classes that fewer than 10 images show: 2 (9)" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "is_named"), [("bright", True), ("Void", False)])
def test_a_listed_class_of_the_ignored_value_is_named(data, tmp_path, capsys, name, is_named):
    (data / "classes.csv").write_text(f"value,name\n0,dark\n1,grey\n2,{name}\n")
    for number in range(COUNT):
        mask = np.asarray(Image.open(data / f"masks/{number:02}.png")).copy()
        mask[:4, :4] = 2
        write_png(data / f"masks/{number:02}.png", mask)
    assert prepare(data, tmp_path / "out", "--ignore_value=2")["labels"] == ["dark", "grey"]
    warning = f"{name} in classes.csv has the ignore_value, so that its pixels count nowhere"
    assert (warning in capsys.readouterr().err) == is_named


def test_a_listed_class_that_no_mask_shows_is_an_error(data, tmp_path, error_of):
    (data / "classes.csv").write_text("value,name\n0,dark\n1,bright\n2,grey\n")
    line = error_of("prepare", f"--data={data}", f"--out={tmp_path}/out")
    assert "expected train examples of all classes; got none of 'grey' (grey: no usable file shows it)" in line
    assert line.endswith("or remove it from classes.csv")


def test_masks_of_one_class_are_a_warning(data, tmp_path, capsys):
    for name in ("00", "01", "02"):
        write_png(data / f"masks/{name}.png", np.zeros((SIDE, SIDE), np.uint8))
    prepare(data, tmp_path / "out")
    assert "3 of 40 masks show only dark" in capsys.readouterr().err


def test_copies_of_an_image_with_different_masks_conflict(data, tmp_path):
    for name in ("40", "41"):
        shutil.copy(data / "images/00.png", data / f"images/{name}.png")
    shutil.copy(data / "masks/00.png", data / "masks/40.png")
    shutil.copy(data / "masks/01.png", data / "masks/41.png")
    duplicates = prepare(data, tmp_path / "out")["duplicates"]
    assert (duplicates["exact"], duplicates["conflicts"]) == (2, 1)


def test_a_class_without_training_pixels_is_an_error(data, tmp_path, error_of):
    (data / "classes.csv").unlink()
    for path in data.glob("masks/*"):
        mask = np.asarray(Image.open(path)).copy()
        mask[0, 0] = 2  # too small for the stored size
        write_png(path, mask)
    line = error_of("prepare", f"--data={data}", f"--out={tmp_path}/out", "--image_size=[8, 8]")
    assert "expected training pixels of every class; got none of '2' at the size" in line


@pytest.mark.parametrize("storage", ["pixels", "jpeg"])
@pytest.mark.parametrize("fused", ["no", "yes"])
@pytest.mark.parametrize("resized_crop", [None, (0.3, 1.0)])
def test_masks_move_with_their_images_in_training(data, tmp_path, storage, fused, resized_crop):
    prepare(data, tmp_path / "out", "--image_size=[20, 20]", "--crop_margin=1.2", f"--storage={storage}")
    augment = Augment(0.25, horizontal_flip=True, resized_crop=resized_crop)
    batches = training_batches(ImageData(str(tmp_path / "out"), batch_size=9, augment=augment, fused=fused))
    images, masks = (torch.cat(parts) for parts in zip(*batches, strict=True))
    if fused == "yes":  # they are normalised
        images = images * (images.max() - images.min()).reciprocal() * 200
        images = images - images.min() + 20
    bright = (images[:, 0] > 120).to(torch.uint8)
    is_counted = masks != 255
    wrong = (bright != masks)[is_counted].float().mean()
    assert masks.shape == (9 * len(batches), 20, 20)
    assert is_counted.float().mean() > 0.8
    assert wrong == 0 if resized_crop is None and storage == "pixels" else wrong < 0.02


def test_transforms_move_masks_too(data, tmp_path):
    prepare(data, tmp_path / "out")
    rotation = {"class_path": "torchvision.transforms.v2.RandomRotation", "init_args": {"degrees": 45}}
    augment = Augment(0, transforms=[rotation])
    batches = training_batches(ImageData(str(tmp_path / "out"), batch_size=9, augment=augment))
    images, masks = (torch.cat(parts) for parts in zip(*batches, strict=True))
    is_counted = masks != 255
    assert is_counted.float().mean() < 0.95
    assert torch.equal((images[:, 0] > 120)[is_counted], (masks == 1)[is_counted])


@pytest.mark.parametrize("verb", ["fit", "doctor"])
@pytest.mark.parametrize("name", ["RandAugment", "AutoAugment", "TrivialAugmentWide", "AugMix"])
def test_transforms_that_cannot_move_a_mask_are_refused_before_the_training(
    verb, name, data, tmp_path, monkeypatch, error_of
):
    monkeypatch.chdir(tmp_path)
    prepare(data, tmp_path / "out")
    transforms = [{"class_path": f"torchvision.transforms.v2.{name}"}]
    config = f"--config={REPO}/configs/train.yaml"
    line = error_of(verb, config, f"--data.folder={tmp_path / 'out'}", f"--data.augment.transforms={transforms}")
    assert f"expected transforms of an image and its mask, as in torchvision.transforms.v2; {name} fails with" in line
    assert not Path("runs").exists()


def soft_dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the loss of one image, computed class by class."""
    probabilities, is_counted = logits.softmax(0), targets != 255
    losses = []
    for index in targets[is_counted].unique().tolist():
        predicted, actual = probabilities[index][is_counted], (targets == index)[is_counted].float()
        losses.append(1 - 2 * float((predicted * actual).sum()) / float(predicted.sum() + actual.sum()))
    return float(np.mean(losses))


@pytest.mark.parametrize("targets", [TARGETS, IGNORED])
def test_the_loss_is_cross_entropy_and_dice(targets):
    weights = torch.tensor([0.5, 1.0, 2.0])
    by_pixel = F.cross_entropy(LOGITS, targets.long(), weights, ignore_index=255, label_smoothing=0.1, reduction="none")
    cross_entropy = by_pixel.sum() / (targets != 255).sum()  # every image has as many
    dice = np.mean([soft_dice_loss(*pair) for pair in zip(LOGITS, targets, strict=True)])
    loss = SegmentationLoss(weights, 0.1)(LOGITS, targets)
    assert float(loss) == pytest.approx(float(cross_entropy) + dice, abs=1e-6)


def test_a_batch_is_the_mean_of_its_images():
    """However many pixels of each are ignored."""
    targets, loss = TARGETS.clone(), SegmentationLoss(torch.tensor([0.5, 1.0, 2.0]), 0.1)
    for number, target in enumerate(targets):
        target.view(-1)[: 4 * number] = 255
    images = [loss(LOGITS[n : n + 1], targets[n : n + 1]) for n in range(7)]
    assert torch.allclose(loss(LOGITS, targets), torch.stack(images).mean())


def test_the_loss_ranges_from_zero_to_a_wrong_class():
    right = F.one_hot(TARGETS.long(), 3).permute(0, 3, 1, 2) * 40.0
    assert float(SegmentationLoss()(right, TARGETS)) == pytest.approx(0, abs=1e-6)
    assert float(SegmentationLoss()(-right, TARGETS)) > 40


def test_an_image_without_a_class_adds_nothing_to_the_loss():
    logits = LOGITS.clone().requires_grad_()
    loss = SegmentationLoss(label_smoothing=0.1)(logits, torch.full_like(TARGETS, 255))
    loss.backward()
    assert loss.item() == 0
    assert float(logits.grad.abs().sum()) == 0


def test_weights_are_inverse_to_the_pixels_or_by_name():
    auto = TASK.make_loss(LossOptions(class_weights="auto", class_counts=[1, 1, 1]))
    assert auto.class_weights.tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    named = TASK.make_loss(LossOptions(class_weights={"dog": 3.0}))
    assert named.class_weights.tolist() == [1, 1, 3]
    with pytest.raises(UserError, match="expected class_weights by class name"):
        TASK.make_loss(LossOptions(class_weights={"mouse": 3.0}))


def test_scores_are_exact_over_uneven_batches():
    scores = TASK.make_scores("val/")
    for part in (slice(0, 5), slice(5, 7)):
        scores.update(LOGITS[part], IGNORED[part])
    values = scores.compute()
    is_counted = IGNORED != 255
    expected = jaccard_score(IGNORED[is_counted], LOGITS.argmax(1)[is_counted], average="macro")
    assert float(values["val/miou"]) == pytest.approx(expected)
    assert float(values["val/loss"]) == pytest.approx(float(SegmentationLoss()(LOGITS, IGNORED)))


def test_a_class_that_no_pixel_shows_does_not_enter_the_mean():
    scores = TASK.make_scores("val/")
    logits = LOGITS.clone()
    logits[:, 2] = -100
    targets = TARGETS.clamp(max=1)
    scores.update(logits, targets)
    expected = jaccard_score(targets.flatten(), logits.argmax(1).flatten(), average="macro")
    assert float(scores.compute()["val/miou"]) == pytest.approx(expected)


def test_a_description_that_does_not_fit_is_an_error():
    with pytest.raises(UserError, match="expected a valid description of the task segmentation"):
        load_task({"labels": LABELS, "task": {"name": "segmentation", "palette": ["#000000"]}})
