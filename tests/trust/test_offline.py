"""Building a network from a model file downloads nothing."""

import socket
from pathlib import Path

import pytest

from leyden.trust.offline import offline
from tests.trust.tampering import assert_refused, edit_checkpoint


@pytest.mark.parametrize(
    ("class_path", "init_args", "message"),
    [
        ("torchvision.models.resnet18", {"weights": "DEFAULT"}, "do not fit"),  # it was built with random weights
        ("torchvision.models.get_model", {"name": "resnet18", "weights": "DEFAULT"}, "do not fit"),
        ("torchvision.models.segmentation.fcn_resnet50", {}, "do not fit"),
        (
            "torchvision.models.get_model",
            {"name": "fasterrcnn_resnet50_fpn"},
            r"cannot be built: it tries to download weights from download\.pytorch\.org",
        ),
    ],
)
def test_a_checkpoint_starts_no_download(folder, class_path, init_args, message):
    labels = [str(number) for number in range(1000)]  # as many classes as the pretrained weights have

    def change(checkpoint):
        checkpoint["leyden"].update(labels=labels, network={"class_path": class_path, "init_args": init_args})

    assert_refused(edit_checkpoint(folder / "model.ckpt", Path("evil.ckpt"), change), message)


def test_connections_are_refused_only_while_offline():
    with offline() as attempted, pytest.raises(ConnectionRefusedError, match="nothing is downloaded"):
        socket.create_connection(("127.0.0.1", 1))
    assert attempted == ["127.0.0.1"]
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname()).close()
