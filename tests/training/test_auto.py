"""`auto` stands for the data module and the network that suit the prepared data."""

import json
from pathlib import Path

import pytest

from leyden.errors import UserError
from leyden.training.auto import AutoClasses, find_folder

IMAGES = {"channels": 1, "image_size": [8, 8], "mean": [0.5], "std": [0.2]}
SEQUENCES = {"features": 2, "mean": [0.0, 0.0], "std": [1.0, 1.0]}
RESNET = {"class_path": "leyden.models.ResNet", "init_args": {"width": 32, "depths": [1, 1, 1]}}
GRU = {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 128}}
UNET = {"class_path": "leyden.models.UNet", "init_args": {"width": 16, "depth": 3}}


def describe(folder: Path, inputs: dict, **entries) -> AutoClasses:
    counts = {split: {"a": 1, "b": 1} for split in ("train", "val", "test")}
    report = {"labels": ["a", "b"], "input": inputs, "counts": counts, "data_hash": "", "files": {}, "stored": ""}
    (folder / "report.json").write_text(json.dumps(report | {"bytes": 0} | entries))
    return AutoClasses([f"--data.folder={folder}"])


@pytest.mark.parametrize(
    ("inputs", "entries", "data", "network"),
    [
        (IMAGES, {}, "leyden.ImageData", RESNET),
        (SEQUENCES, {"task": {"name": "regression"}}, "leyden.SequenceData", GRU),
        (IMAGES, {"task": {"name": "segmentation"}}, "leyden.ImageData", UNET),
        (IMAGES, {"shards": {}}, "leyden.StreamedImageData", RESNET),
    ],
)
def test_classes_suit_the_task_and_the_kind_of_data(inputs, entries, data, network, tmp_path):
    auto = describe(tmp_path, inputs, **entries)
    assert (auto.data, auto.network) == (data, network)
    assert auto.fill_in({"network": "auto", "data": "auto"}) == {
        "network": network,
        "data": {"class_path": data, "init_args": {}},
    }
    args = ["fit", "--network=auto", "--data=auto", "--data.folder=auto"]
    assert auto.fill_in_options(args) == ["fit", f"--network={network['class_path']}", f"--data={data}", args[3]]


def test_without_prepared_data_it_is_classification_of_images(tmp_path):
    auto = AutoClasses([f"--data.folder={tmp_path}"])
    assert (auto.data, auto.network) == ("leyden.ImageData", RESNET)


def test_arguments_are_kept_if_the_class_that_is_chosen_has_them(tmp_path):
    given = {"class_path": "auto", "init_args": {"batch_size": 8, "augment": {}}}
    network = {"class_path": "auto", "init_args": {"width": 4}}
    settings = describe(tmp_path, SEQUENCES).fill_in({"network": network, "data": given, "seed": 3})
    assert settings == {
        "network": {"class_path": GRU["class_path"], "init_args": {"width": 4}},
        "data": {"class_path": "leyden.SequenceData", "init_args": {"batch_size": 8}},
        "seed": 3,
    }


@pytest.mark.parametrize(
    "settings", [{"network": "mine.Net", "data": {"class_path": "mine.Data", "init_args": {"x": 1}}}, {}, None, "text"]
)
def test_what_is_not_auto_is_left_alone(settings, tmp_path):
    copy = json.loads(json.dumps(settings))
    assert describe(tmp_path, IMAGES).fill_in(settings) == copy


def test_a_task_that_is_not_for_sequences_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected images for segmentation; got sequences"):
        _ = describe(tmp_path, SEQUENCES, task={"name": "segmentation"}).network


def test_the_folder_is_that_of_the_last_option_or_else_of_the_last_config(tmp_path):
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(f"data: {{class_path: auto, init_args: {{folder: {name}}}}}\n")
    (tmp_path / "third.yaml").write_text("data: auto\nnetwork: auto\n")
    configs = [part for name in ("first", "second", "third") for part in ("-c", str(tmp_path / f"{name}.yaml"))]
    assert find_folder([]) == Path("artifacts/prepare")
    assert find_folder(configs) == Path("second")
    assert find_folder(["--data.init_args.folder=a", "--data.folder=b", *configs]) == Path("b")
