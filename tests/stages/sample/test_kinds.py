"""Every kind of sample is the same bytes everywhere, says what it wrote, and holds no image twice."""

import hashlib
from pathlib import Path

import pytest

from leyden.cli import main
from leyden.stages.sample import WRITERS
from tests.stages.sample.files import pngs_in, read_pngs

DIGESTS = {
    "images": "df2d38393f4d55e1ba72da35cdc375163fb86b9a65877be0cf33ee5b8120ab40",
    "sequences": "18649c4c89b94f33af4d5195c3b5145ba27986669dd8cdc51a6fc71ac1284245",
    "multilabel": "a24b316816aee588125d46c56783bd7a7e5a53b860cc8a0002ded6e470a1e5a4",
    "regression": "f70cca7378810a567cfb2623dd75c16a68c33b3ec8944feced4a70cdabe2df86",
    "segmentation": "73aa16e0d7986a7e34b47dc7a3df91cb2d503ca4e6aa05361ff7ed8e3b553e4c",
    "ordinal": "4279ccf5b83b13a8b88a5bdb6033523a376c6b339807f5eecf8e0c9a214aa55d",
}
MESSAGES = {
    "images": "1,797 images in 10 classes",
    "sequences": "1,797 sequences in 10 classes",
    "multilabel": "1,196 images, each with any of 10 labels",
    "regression": "902 images with an angle in degrees",
    "segmentation": "600 images and masks of 3 classes",
    "ordinal": "895 images in 5 ordered grades",
}


def digest(folder: Path) -> str:
    """Hash the names and the bytes of all files."""
    total = hashlib.sha256()
    for path in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()):
        total.update(path.encode() + b"\0" + hashlib.sha256((folder / path).read_bytes()).digest())
    return total.hexdigest()


@pytest.mark.parametrize("kind", WRITERS)
def test_is_the_same_bytes_everywhere(kind, sample_of):
    assert digest(sample_of(kind)) == DIGESTS[kind]


@pytest.mark.parametrize("kind", WRITERS)
def test_says_what_it_wrote(kind, tmp_path, capsys):
    assert main(["sample", f"--kind={kind}", f"--out={tmp_path / 'mine'}"]) == 0
    assert capsys.readouterr().out == f"sample: wrote {MESSAGES[kind]} to {tmp_path / 'mine'}\n"


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "sequences"])
def test_no_image_is_there_twice(kind, sample_of):
    paths = [path for path in pngs_in(sample_of(kind)) if not path.startswith("masks/")]
    assert len({image.tobytes() for image in read_pngs(sample_of(kind), paths)}) == len(paths)
