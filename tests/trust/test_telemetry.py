"""No library that Leyden uses reports anything, or leaves an identifier in the home folder."""

import configparser
import os
import subprocess
import sys

from tests.conftest import REPO

# What a user of the exported formats does, with the telemetry that runs at import, at conversion and at quantisation.
# NNCF switches its own off under pytest, so that this runs in a process of its own.
PROGRAM = """
import sys
EVENTS = ("socket.connect", "socket.getaddrinfo")
addresses = []
sys.addaudithook(lambda event, args: addresses.append(args) if event in EVENTS else None)
import leyden
import onnx.parser, onnxruntime, openvino, nncf, numpy, torch
model = openvino.convert_model(torch.nn.Conv2d(1, 2, 3), example_input=torch.zeros(1, 1, 8, 8))
nncf.quantize(model, nncf.Dataset([numpy.zeros((1, 1, 8, 8), numpy.float32)]), subset_size=1)
text = '<ir_version: 8, opset_import: ["": 17]> identity (float[1] x) => (float[1] y) {y = Identity(x)}'
onnxruntime.InferenceSession(onnx.parser.parse_model(text).SerializeToString())
assert not addresses, addresses
"""


def test_exporting_and_running_files_writes_nothing_to_the_home_folder(tmp_path):
    env = {**os.environ, "HOME": str(tmp_path)}
    env = {name: value for name, value in env.items() if not name.startswith(("ORT_", "XDG_", "PYTEST"))}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {(".cache", "matplotlib"), (".config", "matplotlib")}


def test_dvc_sends_no_analytics():
    config = configparser.ConfigParser()
    config.read_string("\n".join(line.strip() for line in (REPO / ".dvc/config").read_text().splitlines()))
    assert config["core"]["analytics"] == "false"
