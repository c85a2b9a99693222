"""Batches from shards: complete, reproducible, the same on any number of processes and workers, and after an interruption."""

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
from leyden.data.shards import ShardFolder
from leyden.data.streaming import ShardDraw, ShardSampler

pytest.importorskip("litdata", reason="of the optional group 'streaming'")
COUNTS = np.array([13] * 9 + [5])  # 122 examples, which neither 12 nor the window divides
PREPARE = ("--data=data", "--shard_mb=0.003")  # 46 images to a shard, 26 shards
FIT = (
    "fit",
    "-c",
    "configs/train.yaml",
    "-c",
    "configs/experiment/streaming.yaml",
    "--network.init_args.width=4",
    "--trainer.precision=32-true",
)


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


def draws(
    epoch: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1, window: int = 3, first_step: int = 0
) -> list[ShardDraw]:
    sampler = ShardSampler(COUNTS, window, 12 // world_size, seed, rank, world_size, lambda: first_step)
    sampler.set_epoch(epoch)
    return list(sampler)


def same(some: list[ShardDraw], others: list[ShardDraw]) -> bool:
    return all(np.array_equal(a.rows, b.rows) and a.seed == b.seed for a, b in zip(some, others, strict=True))


def test_order_is_a_function_of_seed_and_epoch():
    first = draws(3)
    assert same(first, draws(3)) and not same(first, draws(4)) and not same(first, draws(3, seed=1))
    assert same(first[4:], draws(3, first_step=4))


def test_examples_of_a_window_come_in_a_new_order_each_epoch():
    sampler = ShardSampler(np.array([122]), 3, 12, 0)
    first = next(iter(sampler)).rows
    sampler.set_epoch(1)
    assert not np.array_equal(first, next(iter(sampler)).rows)


def test_an_epoch_has_no_example_twice_and_only_full_batches():
    rows = np.concatenate([draw.rows for draw in draws()])
    assert len(rows) == len(set(rows.tolist())) == 120 and rows.min() >= 0 and rows.max() < 122
    assert {row for epoch in range(8) for draw in draws(epoch) for row in draw.rows} == set(range(122))


def test_few_examples_still_make_a_batch():
    (draw,) = ShardSampler(np.array([3, 2]), 8, 16, 0)
    assert draw.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_global_batches_of_one(world_size):
    whole = draws(5)
    parts = [draws(5, rank=rank, world_size=world_size) for rank in range(world_size)]
    for draw, *own in zip(whole, *parts, strict=True):
        assert np.array_equal(draw.rows, np.concatenate([part.rows for part in own]))
        assert [part.first for part in own] == [12 // world_size * rank for rank in range(world_size)]
        assert {part.seed for part in own} == {draw.seed}


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
def test_a_batch_lies_in_few_shards_which_were_announced(rank, world_size):
    """The shards of a batch are those of its window, and they were on their way before it."""
    announced: set[int] = set()
    surprises = 0
    for draw in draws(rank=rank, world_size=world_size):
        lies_in = set((np.searchsorted(np.cumsum(COUNTS), draw.rows, side="right")).tolist())
        assert len(lies_in) <= 2 * 3 and len({*draw.needed, *draw.ahead}) <= 2 * 3
        surprises += len(lies_in - set(draw.needed))
        assert set(draw.needed) <= announced or not announced
        announced |= {*draw.needed, *draw.ahead}
    assert surprises == 0 if world_size == 1 else surprises < 10


def test_batches_are_the_examples_of_their_rows(workspace):
    data = StreamedImageData(batch_size=64)
    folder = ShardFolder(json.loads(Path("artifacts/prepare/report.json").read_text())["shards"], (8, 8, 1), Path(), 0)
    every_image, every_label = folder.gather(np.arange(1154))
    for draw, (images, labels, _) in zip(data.train_dataloader().sampler, data.train_dataloader(), strict=True):
        assert images.dtype == torch.uint8 and images.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), every_image[draw.rows]) and np.array_equal(
            labels, every_label[draw.rows]
        )


def test_workers_give_the_same_batches(workspace):
    alone, *helped = (StreamedImageData(batch_size=50, num_workers=number).train_dataloader() for number in (0, 1, 2))
    for loader in helped:
        loader.sampler.set_epoch(1)
        alone.sampler.set_epoch(1)
        assert len(alone) == 23
        assert all(
            torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2]
            for a, b in zip(alone, loader, strict=True)
        )


def test_two_processes_augment_as_one_does(workspace, monkeypatch):
    def batches(batch_size: int, rank: int, world_size: int) -> list:
        data = StreamedImageData(batch_size=batch_size, augment=Augment(0.125, True), num_workers=0)
        monkeypatch.setattr(streaming, "rank_and_world_size", lambda _: (rank, world_size))
        data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        data.trainer.training = True
        return [data.on_after_batch_transfer(batch, 0)[0] for batch in data.train_dataloader()]

    for whole, *parts in zip(batches(64, 0, 1), batches(32, 0, 2), batches(32, 1, 2), strict=True):
        assert torch.equal(whole, torch.cat(parts))


SEEN = """
import hashlib, json, sys, torch
from lightning.pytorch import LightningModule, Trainer
from leyden import StreamedImageData

class Seen(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = {"train": [], "val": []}

    def note(self, split, batch):
        self.seen[split] += [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch[0]]

    def training_step(self, batch, number):
        self.note("train", batch)
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, number):
        self.note("val", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

from leyden.data.augment import Augment
trainer = Trainer(accelerator="cpu", strategy="ddp", devices=int(sys.argv[1]), max_epochs=1, logger=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False)
model = Seen()
trainer.fit(model, datamodule=StreamedImageData(batch_size=11, augment=Augment(0), num_workers=int(sys.argv[2])))
open(f"seen-{trainer.global_rank}.json", "w").write(json.dumps(model.seen))
"""


@pytest.mark.parametrize(("num_processes", "num_workers"), [(2, 1), pytest.param(3, 0, marks=pytest.mark.slow)])
def test_real_processes_lose_and_repeat_nothing(workspace, python_env, num_processes, num_workers):
    """1,154 training and 293 validation images, which 2 or 3 processes of 11 do not divide."""
    Path("see.py").write_text(SEEN)
    command = ["python", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", "see.py"]
    done = subprocess.run(
        [*command, str(num_processes), str(num_workers)],
        env={**python_env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads(Path(f"seen-{rank}.json").read_text()) for rank in range(num_processes)]
    folder = ShardFolder(json.loads(Path("artifacts/prepare/report.json").read_text())["shards"], (8, 8, 1), Path(), 0)
    images = {"train": folder.gather(np.arange(1154))[0], "val": np.load("artifacts/prepare/val.images.npy")}
    size = 11 * num_processes
    for split, expected in (("train", 1154 // size * size), ("val", 293)):
        import hashlib

        every = [hashlib.sha256(image.tobytes()).hexdigest() for image in images[split]]
        found = [digest for rank in ranks for digest in rank[split]]
        assert (
            len(found) == expected and max(found.count(digest) - every.count(digest) for digest in set(found)) == 0
        ), split
    assert len({len(rank["train"]) for rank in ranks}) == 1


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_killed_training_ends_bit_identical(workspace):
    """Killed within an epoch, and after one, with workers that read ahead; then the same command again."""
    command = [sys.executable, "-m", "leyden", *FIT, "--trainer.max_epochs=4", "--data.init_args.num_workers=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for first_step, options in ((8, ["--resume.every_steps=3"]), (9, [])):
        process = subprocess.Popen([*command, *options], text=True, stderr=subprocess.PIPE, env=env)
        deadline = time.monotonic() + 300
        while not saved_from(first_step, within=bool(options)):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=180)
        assert not Path("artifacts/train").exists()
    done = subprocess.run(command, text=True, capture_output=True, check=True, env=env)
    assert "fit: continues in" in done.stderr and "not resumable" not in done.stderr
    resumed = weights("artifacts/train/model.ckpt")
    Path("runs").rename("interrupted")
    subprocess.run(command, check=True, capture_output=True, env=env)
    uninterrupted = weights("artifacts/train/model.ckpt")
    assert resumed.keys() == uninterrupted.keys() and all(
        torch.equal(resumed[key], uninterrupted[key]) for key in resumed
    )


def saved_from(first_step: int, within: bool) -> bool:
    """Tell whether the run has a checkpoint of that step or a later one, within an epoch of 18 steps or after one."""
    for path in Path("runs").glob("*/last.ckpt"):
        with suppress(FileNotFoundError):  # for a moment it is the one before
            step = torch.load(path, weights_only=True)["global_step"]
            return step >= first_step and (step % 18 != 0) == within
    return False


class Storage(BaseHTTPRequestHandler):
    """As much of S3 as litdata uses: objects by path, put, got, asked for."""

    protocol_version = "HTTP/1.1"  # clients wait a second for the "100 Continue" that 1.0 does not have
    objects: dict[str, bytes]
    fetched: list[str]

    def do_PUT(self) -> None:
        self.objects[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.command == "GET":
            self.fetched.append(path.rsplit("/", 1)[-1])
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
    """A server of this machine that litdata takes for S3."""
    handler = type("Handler", (Storage,), {"objects": {}, "fetched": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    values = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    values |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    leyden.data.shards.storage.cache_clear()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_batches_from_object_storage_are_those_from_a_folder(workspace, storage):
    Path("artifacts/prepare").unlink()
    assert main(["prepare", *PREPARE, "--shards=s3://bucket/name"]) == 0
    place = json.loads(Path("artifacts/prepare/report.json").read_text())["shards"]
    assert place.startswith("s3://bucket/name/") and len(storage.objects) == 27
    assert not list(Path("artifacts").rglob("*.bin"))

    local = StreamedImageData(shards=f"shards/{place.rsplit('/', 1)[1]}", num_workers=0).train_dataloader()
    for remote in (StreamedImageData(num_workers=number).train_dataloader() for number in (2, 0)):
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(local, remote, strict=True))
    assert len(storage.fetched) == len(set(storage.fetched)) == 27  # each shard once, for both workers and both epochs


def size_of(path: Path) -> int:
    """Give a file's size; one that was dropped since it was listed has none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_the_cache_keeps_to_its_size(workspace, storage):
    Path("artifacts/prepare").unlink()
    assert main(["prepare", *PREPARE, "--shards=s3://bucket/name"]) == 0
    size = 2 * 4 * (46 * 100 + 4 * 47)  # two windows
    place = json.loads(Path("artifacts/prepare/report.json").read_text())["shards"]
    mine = Path("runs/shards", place.rsplit("/", 1)[1], "notes.txt")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(bytes(size))
    os.utime(mine, (0, 0))  # the oldest, and large: what the cache would forget first if it were its own
    loader = StreamedImageData(shuffle_window=4, max_cache_gb=(size + 6000) / 1e9, num_workers=0).train_dataloader()
    largest = 0
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            held = [size_of(path) for path in Path("runs/shards").rglob("*.bin")]
            largest = max(largest, sum(held))
    assert size // 2 <= largest <= size + 6000 and mine.is_file()
    assert len(storage.fetched) <= 1 + 2 * 26
    with pytest.raises(UserError, match="room for two windows of shards"):
        StreamedImageData(shuffle_window=9, max_cache_gb=size / 1e9)


def test_storage_that_fails_is_one_line(workspace, storage, error_of):
    line = error_of(*FIT, "--data.init_args.shards=s3://bucket/nothing")
    assert "expected to fetch s3://bucket/nothing/index.json" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "packed"}, "packed holds packed arrays; run `leyden prepare --shards=FOLDER_OR_URL`"),
        ({"shards": "nowhere"}, "expected nowhere/index.json, which is not there"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 8 and 0"),
        ({"shuffle_window": 0}, "must be at least 1; got 0 and 64"),
    ],
)
def test_mistakes_are_told(workspace, trained, options, message):
    Path("packed").symlink_to(trained / "artifacts/prepare")
    with pytest.raises(UserError, match=message.replace("(", "\\(")):
        StreamedImageData(**options)


def test_shards_of_other_data_are_refused(workspace):
    Path("other").mkdir()
    index = json.loads(next(Path("shards").glob("*/index.json")).read_text())
    index["chunks"].pop()
    Path("other/index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="expected 1,154 training images in other; got 1,1"):
        StreamedImageData(shards="other")


def test_without_litdata_a_folder_is_read_and_a_url_says_what_to_install(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata.streaming.fs_provider", None)
    assert len(next(iter(StreamedImageData(num_workers=0).train_dataloader()))[1]) == 64
    with pytest.raises(UserError, match=r"install leyden\[streaming\]"):
        leyden.data.shards.fetch("gs://bucket/name/index.json", Path("index.json"))
