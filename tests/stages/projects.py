"""A prepared data set of any task, and an untrained model of it."""

from pathlib import Path

import torch

from leyden.cli import main
from leyden.data.packed import read_report
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.tasks import load_task
from tests.tasks.data import write_data

Project = tuple[Path, ImageModel | SequenceModel]


def make_project(folder: Path, task: str, suffix: str = ".png") -> Project:
    """Prepare a tiny data set, and write the checkpoint of an untrained network for it."""
    write_data(folder / "data", task, suffix)
    assert main(["prepare", f"--data={folder}/data", f"--out={folder}/prepare"]) == 0
    report = read_report(folder / "prepare")
    network = load_task(report).default_network(for_sequences=suffix == ".npy")
    network["init_args"] = dict(network["init_args"]) | {"width": 8}
    spec = {name: report[name] for name in ("labels", "input", "task")} | {"network": network}
    torch.manual_seed(0)
    model = (SequenceModel if suffix == ".npy" else ImageModel)(**spec).eval()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"leyden": spec, "state_dict": weights}, folder / "model.ckpt")
    return folder, model
