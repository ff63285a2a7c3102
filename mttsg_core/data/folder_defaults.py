"""`mttsg.toml` in a data folder: how its videos and sentences are meant to be encoded, and trained on.

It holds what belongs to the data, not to a computer: encoders, clip rate, and settings of the training. A folder of
somebody else can therefore not decide where files are written or what is uploaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mttsg_core.config import TrainingConfig, refuse_unknown
from mttsg_core.errors import ConfigError, DataError, error_summary
from mttsg_core.utils.files import is_file, unsafe_path_reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULTS_FILE = "mttsg.toml"
_FEATURES: Mapping[str, type | tuple[type, ...]] = {
    "encoder": str,
    "text_encoder": str,
    "fps": (int, float),
    "reader": str,
    "features": (str, list),
}
_TABLES = ("training", "network", "loss")
_VIDEOS = "videos"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class FolderDefaults:
    """The content of a `mttsg.toml`.

    Attributes:
        features: `encoder`, `text_encoder`, `fps`, `reader` and `features`, those that are given.
        tables: settings of `training`, `network` and `loss`.
    """

    features: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {name: {} for name in _TABLES})


def read_defaults(folder: Path) -> FolderDefaults:
    """Read the defaults of a data folder; without a file, or with a single annotation file, there are none.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: if it has a name that is not known, or a value of another type.
    """
    path = folder / DEFAULTS_FILE
    if not is_file(path):
        return FolderDefaults()
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
        values = tomllib.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error_summary(error)}") from error
    tables = {name: values.pop(name, {}) for name in _TABLES}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: [{name}] is not a table")
    values = {key.replace("-", "_"): value for key, value in values.items()}
    training = [setting.name for setting in fields(TrainingConfig)]
    refuse_unknown(values, [*_FEATURES, *training], f"setting in {path}")
    features = {name: values.pop(name) for name in list(values) if name in _FEATURES}
    for name, value in features.items():
        if not isinstance(value, _FEATURES[name]) or isinstance(value, bool):
            raise ConfigError(f"{path}: {name} = {value!r}: must be a {'number' if name == 'fps' else 'string'}")
        if isinstance(value, list) and not (value and all(isinstance(place, str) for place in value)):
            raise ConfigError(f"{path}: {name} = {value!r}: must be folders, as in ['clip=features/clip']")
    return FolderDefaults(features, {**tables, "training": {**tables["training"], **values}})


def feature_places(folder: Path) -> list[str | Path]:
    """Return where the features of a data folder are: where its `mttsg.toml` says, else in `features`.

    Raises:
        DataError, ConfigError: as `read_defaults`; ConfigError as well if a place is not in the data folder.
    """
    named = read_defaults(folder).features.get("features", "features")
    places: list[str | Path] = []
    for text in [named] if isinstance(named, str) else named:
        name, equals, place = text.rpartition("=")
        reason = unsafe_path_reason(place)
        if reason is not None or Path(place).is_absolute():
            raise ConfigError(f"{folder / DEFAULTS_FILE}: features {text!r}: {reason or 'not below the data folder'}")
        places.append(f"{name}{equals}{folder / place}" if equals else folder / place)
    return places


def defaults_of_videos(paths: Iterable[Path]) -> Mapping[str, Any]:
    """Return the `features` of the data folders that videos, or folders of them, are in.

    A video is in a data folder if it is below its `videos`.

    Raises:
        DataError, ConfigError: as `read_defaults`; ConfigError as well if the data folders differ.
    """
    found: list[tuple[Path, Mapping[str, Any]]] = []
    for path in paths:
        folder = _data_folder(path)
        features = {} if folder is None else read_defaults(folder).features
        features = {name: value for name, value in features.items() if name not in ("text_encoder", "features")}
        if found and features != found[0][1]:
            raise ConfigError(f"{found[0][0]} and {path} have different defaults: name the --encoder")
        found.append((path, features))
    return found[0][1] if found else {}


def _data_folder(path: Path) -> Path | None:
    """Return the data folder that a path is, or that it is in."""
    if is_file(path / DEFAULTS_FILE):
        return path
    try:
        absolute = path.absolute()
    except OSError:
        return None
    for parent, child in zip(absolute.parents, (absolute, *absolute.parents), strict=False):
        if child.name == _VIDEOS and is_file(parent / DEFAULTS_FILE):
            return parent
    return None
