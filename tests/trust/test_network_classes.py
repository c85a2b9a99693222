"""Network classes that only a model file names are not imported."""

import json
import sys
from pathlib import Path

import pytest

import leyden
from leyden.models.checkpoint import load_checkpoint
from leyden.stages.export import describe
from tests.trust.tampering import NETWORK, assert_refused, edit_checkpoint, set_network


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("unittest.__main__.X", {}),
        ("evil.Net", {}),
        ("timm.evil.Net", {}),
        ("timm.models.evil.Net", {}),  # in a folder that hides behind the installed package
        ("torch.nn.Linear", {}),
        ("leydenevil.Net", {}),
        ("leyden.models.channel_pruning.narrow_network", {"network": {"class_path": "evil.Net"}}),
    ],
)
def test_a_class_that_only_the_file_names_is_not_imported(folder, class_path, init_args, monkeypatch):
    for path in ("evil.py", "timm/evil.py", "timm/models/evil.py", "leydenevil.py"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(NETWORK)
    monkeypatch.syspath_prepend(".")
    evil = edit_checkpoint(folder / "model.ckpt", Path("evil.ckpt"), set_network(class_path, **init_args))
    before = set(sys.modules)
    assert_refused(evil, "holds the network .*, which is code; add --trust|'timm.models.evil.Net' cannot be imported")
    assert not Path("imported").exists()
    assert "unittest.__main__" not in set(sys.modules) - before


def test_a_class_that_only_a_safetensors_file_names_is_not_imported(folder, monkeypatch):
    from safetensors.torch import load_file, save_file

    model = load_checkpoint(folder / "model.ckpt")
    assert leyden.load(folder / "model.safetensors").labels == model.labels
    Path("evil.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(".")
    metadata = json.loads(describe(model, "fp32", "MIT")) | {"network": {"class_path": "evil.Net"}}
    save_file(load_file(folder / "model.safetensors"), "evil.safetensors", {"leyden": json.dumps(metadata)})
    assert_refused(Path("evil.safetensors"), "holds the network evil.Net, which is code")
    assert not Path("imported").exists()
