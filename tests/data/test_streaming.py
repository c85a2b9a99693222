"""Batches from shards are complete, reproducible, and the same for any number of processes and after a restart."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

import leyden.data.shards
from leyden import StreamedImageData, UserError
from leyden.cli import main
from leyden.data import streaming
from leyden.data.augment import Augment
from leyden.data.packed import read_report
from leyden.data.shards import ShardFolder
from leyden.data.streaming import ShardBatchIndex, ShardSampler

pytest.importorskip("litdata", reason="of the optional group 'streaming'")
COUNTS = np.array([13] * 9 + [5])  # 122 examples, not divisible by 12 or by the window
PREPARE = ("--data=data", "--shard_mb=0.003")  # 46 images to a shard, 26 shards
CONFIGS = ("-c", "configs/train.yaml", "-c", "configs/experiment/streaming.yaml")
FIT = ("fit", *CONFIGS, "--network.init_args.width=4", "--trainer.precision=32-true")


@pytest.fixture(scope="module")
def sharded(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout after `leyden prepare --shards=shards`."""
    folder = tmp_path_factory.mktemp("sharded")
    for name in ("configs", "data"):
        (folder / name).symlink_to((trained / name).resolve())
    old = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["prepare", *PREPARE, "--shards=shards"]) == 0
    finally:
        os.chdir(old)
    return folder


@pytest.fixture
def workspace(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("configs", "data", "shards"):
        (tmp_path / name).symlink_to(sharded / name)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/prepare").symlink_to(sharded / "artifacts/prepare")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def location_of_shards() -> str:
    return read_report(Path("artifacts/prepare"))["shards"]


def sample(
    epoch: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1, window: int = 3, first_step: int = 0
) -> list[ShardBatchIndex]:
    sampler = ShardSampler(COUNTS, window, 12 // world_size, seed, rank, world_size, lambda: first_step)
    sampler.set_epoch(epoch)
    return list(sampler)


def are_equal(some: list[ShardBatchIndex], others: list[ShardBatchIndex]) -> bool:
    return all(np.array_equal(a.rows, b.rows) and a.seed == b.seed for a, b in zip(some, others, strict=True))


def test_order_is_a_function_of_seed_and_epoch():
    first = sample(3)
    assert are_equal(first, sample(3))
    assert not are_equal(first, sample(4))
    assert not are_equal(first, sample(3, seed=1))
    assert are_equal(first[4:], sample(3, first_step=4))


def test_examples_of_a_window_are_shuffled_each_epoch():
    sampler = ShardSampler(np.array([122]), 3, 12, 0)
    first = next(iter(sampler)).rows
    sampler.set_epoch(1)
    assert not np.array_equal(first, next(iter(sampler)).rows)


def test_an_epoch_repeats_no_example_and_has_only_full_batches():
    rows = np.concatenate([batch.rows for batch in sample()])
    assert len(rows) == len(set(rows.tolist())) == 120
    assert rows.min() >= 0
    assert rows.max() < 122
    assert {row for epoch in range(8) for batch in sample(epoch) for row in batch.rows} == set(range(122))


def test_fewer_examples_than_a_batch_make_one_batch():
    (batch,) = ShardSampler(np.array([3, 2]), 8, 16, 0)
    assert batch.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_global_batches_of_one(world_size):
    expected = sample(5)
    parts = [sample(5, rank=rank, world_size=world_size) for rank in range(world_size)]
    for batch, *own in zip(expected, *parts, strict=True):
        assert np.array_equal(batch.rows, np.concatenate([part.rows for part in own]))
        assert [part.offset for part in own] == [12 // world_size * rank for rank in range(world_size)]
        assert {part.seed for part in own} == {batch.seed}


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
def test_a_batch_needs_few_shards_that_were_announced(rank, world_size):
    """The shards of a batch belong to its windows, and were announced by an earlier batch."""
    announced: set[int] = set()
    num_unexpected = 0
    for batch in sample(rank=rank, world_size=world_size):
        shards = set((np.searchsorted(np.cumsum(COUNTS), batch.rows, side="right")).tolist())
        assert len(shards) <= 2 * 3
        assert len({*batch.needed, *batch.upcoming}) <= 2 * 3
        num_unexpected += len(shards - set(batch.needed))
        assert set(batch.needed) <= announced or not announced
        announced |= {*batch.needed, *batch.upcoming}
    assert num_unexpected == 0 if world_size == 1 else num_unexpected < 10


def test_batches_hold_the_examples_of_their_rows(workspace):
    data = StreamedImageData(batch_size=64)
    folder = ShardFolder(location_of_shards(), (8, 8, 1), Path(), 0)
    every_image, every_label = folder.gather(np.arange(1154))
    for batch, (images, labels, _) in zip(data.train_dataloader().sampler, data.train_dataloader(), strict=True):
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), every_image[batch.rows])
        assert np.array_equal(labels, every_label[batch.rows])


def test_workers_return_the_same_batches(workspace):
    without, *with_workers = (
        StreamedImageData(batch_size=50, num_workers=number).train_dataloader() for number in (0, 1, 2)
    )
    for loader in with_workers:
        loader.sampler.set_epoch(1)
        without.sampler.set_epoch(1)
        assert len(without) == 23
        assert all(
            torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2]
            for a, b in zip(without, loader, strict=True)
        )


def test_two_processes_augment_like_one(workspace, monkeypatch):
    def batches(batch_size: int, rank: int, world_size: int) -> list:
        data = StreamedImageData(batch_size=batch_size, augment=Augment(0.125, True), num_workers=0)
        monkeypatch.setattr(streaming, "rank_and_world_size", lambda _: (rank, world_size))
        data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        data.trainer.training = True
        return [data.on_after_batch_transfer(batch, 0)[0] for batch in data.train_dataloader()]

    for expected, *parts in zip(batches(64, 0, 1), batches(32, 0, 2), batches(32, 1, 2), strict=True):
        assert torch.equal(expected, torch.cat(parts))


TRAIN = """
import hashlib, json, sys, torch
from lightning.pytorch import LightningModule, Trainer
from leyden import StreamedImageData

class RecordImages(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.hashes = {"train": [], "val": []}

    def record(self, split, batch):
        self.hashes[split] += [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch[0]]

    def training_step(self, batch, batch_idx):
        self.record("train", batch)
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_idx):
        self.record("val", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

from leyden.data.augment import Augment
trainer = Trainer(
    accelerator="cpu", strategy="ddp", devices=int(sys.argv[1]), max_epochs=1, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
)
model = RecordImages()
trainer.fit(model, datamodule=StreamedImageData(batch_size=11, augment=Augment(0), num_workers=int(sys.argv[2])))
open(f"hashes-{trainer.global_rank}.json", "w").write(json.dumps(model.hashes))
"""


@pytest.mark.parametrize(("num_processes", "num_workers"), [(2, 1), pytest.param(3, 0, marks=pytest.mark.slow)])
def test_processes_neither_lose_nor_repeat_examples(workspace, python_env, num_processes, num_workers):
    """1,154 training and 293 validation images are not divisible by the global batches of 2 or 3 processes with 11."""
    Path("train.py").write_text(TRAIN)
    command = ["python", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", "train.py"]
    command += [str(num_processes), str(num_workers)]
    done = subprocess.run(command, env={**python_env, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads(Path(f"hashes-{rank}.json").read_text()) for rank in range(num_processes)]
    folder = ShardFolder(location_of_shards(), (8, 8, 1), Path(), 0)
    images = {"train": folder.gather(np.arange(1154))[0], "val": np.load("artifacts/prepare/val.images.npy")}
    size = 11 * num_processes
    for split, expected in (("train", 1154 // size * size), ("val", 293)):
        expected_hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in images[split]]
        hashes = [digest for rank in ranks for digest in rank[split]]
        assert len(hashes) == expected, split
        assert max(hashes.count(digest) - expected_hashes.count(digest) for digest in set(hashes)) == 0, split
    assert len({len(rank["train"]) for rank in ranks}) == 1


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_killed_training_ends_bit_identical(workspace):
    """Kill the training within an epoch and after one, with workers that read ahead; then run the command again."""
    command = [sys.executable, "-m", "leyden", *FIT, "--trainer.max_epochs=4", "--data.init_args.num_workers=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for first_step, options in ((8, ["--resume.every_steps=3"]), (9, [])):
        process = subprocess.Popen([*command, *options], text=True, stderr=subprocess.PIPE, env=env)
        deadline = time.monotonic() + 300
        while not has_saved(first_step, within=bool(options)):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, process.stderr and process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=180)
        assert not Path("artifacts/train").exists()
    done = subprocess.run(command, text=True, capture_output=True, check=True, env=env)
    assert "fit: continues in" in done.stderr
    assert "not resumable" not in done.stderr
    resumed = weights("artifacts/train/model.ckpt")
    Path("runs").rename("interrupted")
    subprocess.run(command, check=True, capture_output=True, env=env)
    uninterrupted = weights("artifacts/train/model.ckpt")
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(resumed[key], uninterrupted[key]) for key in resumed)


def has_saved(first_step: int, within: bool) -> bool:
    """Check whether the run has a checkpoint of that step or a later one, within an epoch of 18 steps or at its end."""
    for path in Path("runs").glob("*/last.ckpt"):
        with suppress(FileNotFoundError):  # it is being replaced
            step = torch.load(path, weights_only=True)["global_step"]
            return step >= first_step and (step % 18 != 0) == within
    return False


class Storage(BaseHTTPRequestHandler):
    """The part of S3 that litdata uses: PUT, GET and HEAD of objects."""

    protocol_version = "HTTP/1.1"  # with 1.0, clients wait a second for "100 Continue"
    objects: dict[str, bytes]
    downloaded: list[str]

    def do_PUT(self) -> None:
        self.objects[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.command == "GET":
            self.downloaded.append(path.rsplit("/", 1)[-1])
        self.answer(200 if path in self.objects else 404, self.objects.get(path, b""))

    def answer(self, code: int, content: bytes) -> None:
        self.send_response(code)
        headers = {"Content-Length": len(content), "ETag": '"0"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Storage]]:
    """Start a local server that litdata uses as S3."""
    handler = type("Handler", (Storage,), {"objects": {}, "downloaded": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    values = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    leyden.data.shards.storage_client.cache_clear()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_batches_from_object_storage_equal_those_from_a_folder(workspace, storage):
    Path("artifacts/prepare").unlink()
    assert main(["prepare", *PREPARE, "--shards=s3://bucket/name"]) == 0
    location = location_of_shards()
    assert location.startswith("s3://bucket/name/")
    assert len(storage.objects) == 27
    assert not list(Path("artifacts").rglob("*.bin"))

    local = StreamedImageData(shards=f"shards/{location.rsplit('/', 1)[1]}", num_workers=0).train_dataloader()
    for remote in (StreamedImageData(num_workers=number).train_dataloader() for number in (2, 0)):
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(local, remote, strict=True))
    # Each shard once, for both workers and both epochs:
    assert len(storage.downloaded) == len(set(storage.downloaded)) == 27


def size_of(path: Path) -> int:
    """Return a file's size; 0 if it was removed after it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_the_cache_keeps_its_size_and_other_files(workspace, storage):
    Path("artifacts/prepare").unlink()
    assert main(["prepare", *PREPARE, "--shards=s3://bucket/name"]) == 0
    size = 2 * 4 * (46 * 100 + 4 * 47)  # two windows
    location = location_of_shards()
    user_file = Path("runs/shards", location.rsplit("/", 1)[1], "notes.txt")
    user_file.parent.mkdir(parents=True)
    user_file.write_bytes(bytes(size))
    os.utime(user_file, (0, 0))  # old and large: the first to be evicted, if it belonged to the cache
    loader = StreamedImageData(shuffle_window=4, max_cache_gb=(size + 6000) / 1e9, num_workers=0).train_dataloader()
    largest = 0
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            sizes = [size_of(path) for path in Path("runs/shards").rglob("*.bin")]
            largest = max(largest, sum(sizes))
    assert size // 2 <= largest <= size + 6000
    assert user_file.is_file()
    assert len(storage.downloaded) <= 1 + 2 * 26
    with pytest.raises(UserError, match="room for two windows of shards"):
        StreamedImageData(shuffle_window=9, max_cache_gb=size / 1e9)


def test_a_failed_download_is_a_one_line_error(workspace, storage, error_of):
    line = error_of(*FIT, "--data.init_args.shards=s3://bucket/nothing")
    assert "expected to download s3://bucket/nothing/index.json" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "packed"}, "packed holds packed arrays; run `leyden prepare --shards=FOLDER_OR_URL`"),
        ({"shards": "nowhere"}, "expected nowhere/index.json; not found; run `leyden prepare --shards=."),
        ({"batch_size": 0}, r"data.batch_size must lie in \[1, 1048576\]; got 0"),
        ({"shuffle_window": 0}, r"data.shuffle_window must lie in \[1, inf\); got 0"),
    ],
)
def test_mistakes_are_reported(workspace, trained, options, message):
    Path("packed").symlink_to(trained / "artifacts/prepare")
    with pytest.raises(UserError, match=message.replace("(", "\\(")):
        StreamedImageData(**options)


def test_shards_of_other_data_are_rejected(workspace):
    Path("other").mkdir()
    index = json.loads(next(Path("shards").glob("*/index.json")).read_text())
    index["chunks"].pop()
    Path("other/index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="expected 1,154 training images in other; got 1,1"):
        StreamedImageData(shards="other")


def test_without_litdata_a_folder_is_read_and_a_url_is_an_error(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata.streaming.fs_provider", None)
    assert len(next(iter(StreamedImageData(num_workers=0).train_dataloader()))[1]) == 64
    with pytest.raises(UserError, match=r"install leyden\[streaming\]"):
        leyden.data.shards.download("gs://bucket/name/index.json", Path("index.json"))
