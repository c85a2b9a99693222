"""Short names in the config of a training: `auto`, which suits the prepared data, and `timm:NAME`."""

import inspect
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from leyden.class_paths import import_path
from leyden.data.packed import REPORT, read_report
from leyden.parsing import settings_of
from leyden.tasks import load_task

AUTO = "auto"
TIMM_NET = "leyden.models.TimmNet"
TIMM = "timm:"  # before the name of a network of timm
PREPARED = "artifacts/prepare"
DATA_MODULES = {"images": "leyden.ImageData", "sequences": "leyden.SequenceData", "shards": "leyden.StreamedImageData"}
FOLDER_OPTION = re.compile(r"--data\.(?:init_args\.)?folder=(.+)")


class AutoClasses:
    """What the short names stand for, given the prepared data that a command line names."""

    def __init__(self, args: Sequence[str]) -> None:
        self._folder = find_folder(args).absolute()  # while it loads a config, jsonargparse works in that one's folder

    @cached_property
    def _report(self) -> dict[str, Any]:
        """The description of the data; one of classes of images is assumed if none was prepared yet."""
        is_prepared = (self._folder / REPORT).is_file()
        return read_report(self._folder) if is_prepared else {"labels": ["a", "b"], "input": {}}

    @property
    def network(self) -> dict[str, Any]:
        """The task's default network.

        Raises:
            UserError: if the task is not for this kind of data, or the data's description is damaged.
        """
        return load_task(self._report).default_network("features" in self._report["input"])

    @property
    def data(self) -> str:
        """The class path of the data module."""
        kind = "sequences" if "features" in self._report["input"] else "images"
        return DATA_MODULES["shards" if "shards" in self._report else kind]

    def fill_in(self, settings: Any) -> Any:
        """Replace short names in a config file's settings; leave out arguments that the chosen data module lacks."""
        if not isinstance(settings, dict):
            return settings
        if "network" in settings:
            settings["network"] = self._fill_in_network(settings["network"])
        if is_auto(data := settings.get("data")):
            known = inspect.signature(import_path(self.data)).parameters
            given = (data.get("init_args") or {}) if isinstance(data, dict) else {}
            init_args = {key: value for key, value in given.items() if key in known}
            settings["data"] = {"class_path": self.data, "init_args": init_args}
        return settings

    def _fill_in_network(self, network: Any) -> Any:
        if isinstance(network, str) and network.startswith(TIMM):
            return {"class_path": TIMM_NET, "init_args": {"name": network.removeprefix(TIMM)}}
        if not is_auto(network):
            return network
        given = (network.get("init_args") or {}) if isinstance(network, dict) else {}
        return {"class_path": self.network["class_path"], "init_args": {**self.network["init_args"], **given}}

    def fill_in_options(self, args: Sequence[str]) -> list[str]:
        """Replace short names in the options of a command line."""
        return [option for arg in args for option in self._fill_in_option(arg)]

    def _fill_in_option(self, arg: str) -> list[str]:
        if arg == "--network=auto":
            return [f"--network={self.network['class_path']}"]
        if arg == "--data=auto":
            return [f"--data={self.data}"]
        if arg.startswith(option := f"--network={TIMM}"):
            return [f"--network={TIMM_NET}", f"--network.init_args.name={arg.removeprefix(option)}"]
        return [arg]


def is_auto(value: Any) -> bool:
    return value == AUTO or (isinstance(value, dict) and value.get("class_path") == AUTO)


def find_folder(args: Sequence[str]) -> Path:
    """Return the folder of prepared data that a command line or its config files name."""
    if named := [match[1] for arg in args if (match := FOLDER_OPTION.fullmatch(arg))]:
        return Path(named[-1])
    sections = [value.get("init_args") for value in settings_of(args, "data") if isinstance(value, dict)]
    folders = [init_args["folder"] for init_args in sections if isinstance(init_args, dict) and "folder" in init_args]
    return Path(str(folders[-1]) if folders else PREPARED)
