"""The files of pretrained models: from a model's id to its folder, on this computer or from the Hugging Face Hub.

Users name a model by a folder, or by its name on the Hub, optionally followed by `@REVISION`. Features and models
record an id that identifies the content: `NAME@COMMIT`, or for a folder `KIND#HASH`, wherever the folder is.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from mttsg_core.encoders.known import KNOWN, UNUSABLE
from mttsg_core.errors import ConfigError, error_summary
from mttsg_core.utils.files import is_file
from mttsg_core.utils.hf_hub import download, hub_errors
from mttsg_core.utils.paths import remember_folder, remembered_folder
from mttsg_core.utils.text import shorten

# Only what is loaded is downloaded: no pickled weights, no weights for other frameworks, no subfolders.
_INCLUDE = ("*.json", "*.txt", "*.model", "model*.safetensors")
_EXCLUDE = ("[!1]*/*", "1[!_]*/*")  # all subfolders but `1_Pooling` of a sentence encoder
_POOLING = ("modules.json", "1_Pooling/config.json")  # of a sentence encoder
_COMMIT_MARK, _CONTENT_MARK = "@", "#"
_COMMIT = re.compile("[0-9a-f]{40}")
_PINNED = re.compile(r"(?:[\w.-]+/)?[\w.-]+@[0-9a-f]{40}|[\w.-]+#[0-9a-f]{16}", re.ASCII)
_KIND = re.compile(r"[\w.-]{1,100}", re.ASCII)
_SHARD = re.compile(r"[\w.-]*\w\.safetensors", re.ASCII)  # a name in the folder itself
_BLOCK = 1 << 22  # bytes hashed at a time
_MAX_JSON_BYTES = 16 << 20


@dataclass(frozen=True)
class PretrainedFiles:
    """The files of a pretrained model.

    Attributes:
        id: identifies their content.
        folder: where they are.
    """

    id: str
    folder: Path


def is_pinned(model_id: str) -> bool:
    """Tell whether an id fixes the content of a model: that of `PretrainedFiles`, which no one can change later.

    >>> is_pinned("someone/clip@0123456789abcdef0123456789abcdef01234567"), is_pinned("clip#0123456789abcdef")
    (True, True)
    >>> is_pinned("someone/clip"), is_pinned("someone/clip@main"), is_pinned("/models/clip")
    (False, False, False)
    """
    return _PINNED.fullmatch(model_id) is not None


@lru_cache(maxsize=16)
def find_files(model_id: str, what: str = "encoder", *, offline: bool = False) -> PretrainedFiles:
    """Find the files of a pretrained model, downloading them if necessary. Results are cached per process.

    Args:
        model_id: a short name (see `known`), a folder, `NAME` or `NAME@REVISION` on the Hugging Face Hub, or the id of
            `PretrainedFiles`.
        what: what the model is used as, for error messages.
        offline: never use the network.

    Raises:
        ConfigError: if there is no such model; the message says why and what can be done.
    """
    label = f"{what} {model_id!r}"
    if model_id in UNUSABLE:
        raise ConfigError(f"{label}: {UNUSABLE[model_id]}")
    if model_id in KNOWN:
        return _from_hub(KNOWN[model_id].id, f"{label} ({KNOWN[model_id].repo})", offline=offline)
    if model_id and Path(model_id).expanduser().is_dir():
        return _from_folder(Path(model_id).expanduser())
    if _CONTENT_MARK not in model_id:
        return _from_hub(model_id, label, offline=offline)
    folder = remembered_folder(model_id)
    if folder is None:
        raise ConfigError(
            f"{label} is a model in a folder that has not been used on this computer: name the folder with --encoder"
        )
    files = _from_folder(folder)
    if files.id != model_id:
        raise ConfigError(f"{label} was in {folder}, but that has changed since and is now {files.id!r}")
    return files


def _from_folder(folder: Path) -> PretrainedFiles:
    """Identify a folder in the layout of `save_pretrained` by its weights, their configuration, and how it pools."""
    kind, weights = _check_complete(folder, str(folder))
    digest = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=8)
    for path in filter(is_file, (folder / name for name in _POOLING)):
        digest.update(path.read_bytes())
    for path in weights:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    content_id = f"{kind}{_CONTENT_MARK}{digest.hexdigest()}"
    remember_folder(content_id, folder)
    return PretrainedFiles(content_id, folder)


def _from_hub(model_id: str, label: str, *, offline: bool) -> PretrainedFiles:
    name, _, revision = model_id.partition(_COMMIT_MARK)
    if _COMMIT.fullmatch(revision):
        with suppress(ConfigError):  # a commit never changes, so a downloaded one needs no request
            return _snapshot(name, revision, label, offline=True)
    return _snapshot(name, revision, label, offline=offline)


def _snapshot(name: str, revision: str, label: str, *, offline: bool) -> PretrainedFiles:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(
            f"unknown {label}: neither built in, nor a folder, nor a valid model name on the Hugging Face Hub"
        ) from error
    with hub_errors(name, label, ConfigError, offline=offline):
        folder = download(name, revision or None, _INCLUDE, _EXCLUDE, offline=offline)
    _check_complete(folder, label)
    return PretrainedFiles(f"{name}{_COMMIT_MARK}{folder.name}", folder)


def _check_complete(folder: Path, name: str) -> tuple[str, list[Path]]:
    """Return the kind of model and its weight files, all of which exist.

    Raises:
        ConfigError: if the folder does not hold a model, or parts of it are missing.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{name}: not a model folder (no config.json in it)")
    index = folder / "model.safetensors.index.json"
    try:
        kind = str(_read_object(folder / "config.json")["model_type"])
        weight_map = _read_object(index)["weight_map"] if index.is_file() else {"": "model.safetensors"}
        shards = sorted(set(weight_map.values()))
        unsafe = [shard for shard in shards if not _SHARD.fullmatch(shard)]
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ConfigError(f"{name}: damaged model ({error_summary(error)})") from error
    if not _KIND.fullmatch(kind):
        raise ConfigError(f"{name}: damaged model (the model type {shorten(kind)} is not a name)")
    if unsafe:
        raise ConfigError(
            f"{name}: damaged model ({index.name} names {shorten(unsafe[0])}, which is not a file in the folder)"
        )
    weights = [folder / shard for shard in shards]
    missing = [path.name for path in weights if not is_file(path)]
    if missing:
        pickled = " (there are pickled weights, which are never loaded)" if list(folder.glob("*.bin")) else ""
        raise ConfigError(f"{name}: has no {missing[0]}{pickled}: not a safetensors model, or not fully downloaded")
    return kind, weights


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises OSError or ValueError if it is too large, is not JSON, or is not an object."""
    with path.open("rb") as file:
        content = file.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise ValueError(f"{path.name} is larger than {_MAX_JSON_BYTES >> 20} MiB")
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return value
