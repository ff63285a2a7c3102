"""From the id of a pretrained model to the folder of its files: on this computer, or from the Hugging Face Hub.

An id is given as the name of a model on the Hub, maybe with `@REVISION`, or as a folder. What is kept with features and
models is an id that stands for one content: `NAME@COMMIT`, or for a folder `KIND#HASH`, which is the same wherever the
folder lies.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from mttsg_core.errors import ConfigError, brief
from mttsg_core.utils.hf_hub import download, one_line
from mttsg_core.utils.paths import remember_folder, remembered_folder

# Of a repository only what is loaded: no pickled weights, no weights for other programs, no folders.
_WANTED = ("*.json", "*.txt", "*.model", "model*.safetensors")
_UNWANTED = ("*/*",)
_COMMIT, _CONTENT = "@", "#"
_IS_COMMIT = re.compile("[0-9a-f]{40}")
_BLOCK = 1 << 22  # bytes hashed at a time


@dataclass(frozen=True)
class PretrainedFiles:
    """The files of a model.

    Attributes:
        id: stands for this content.
        folder: where they lie.
    """

    id: str
    folder: Path


@lru_cache(maxsize=16)
def find_files(model_id: str, what: str = "encoder", *, offline: bool = False) -> PretrainedFiles:
    """The files of a model, downloaded if they are not here yet. Looked for once in a process.

    Args:
        model_id: a folder, `NAME` or `NAME@REVISION` on the Hugging Face Hub, or the id of `PretrainedFiles`.
        what: it is to be, for the text of errors.
        offline: never use the network.

    Raises:
        ConfigError: saying why there is no such model, and what can be done.
    """
    called = f"{what} {model_id!r}"
    if model_id and Path(model_id).expanduser().is_dir():
        return _in_folder(Path(model_id).expanduser())
    if _CONTENT not in model_id:
        return _from_hub(model_id, called, offline=offline)
    folder = remembered_folder(model_id)
    if folder is None:
        raise ConfigError(f"{called} is a model in a folder, not used on this computer yet: name that with --encoder")
    found = _in_folder(folder)
    if found.id != model_id:
        raise ConfigError(f"{called} was in {folder}, but that has changed since, and is {found.id!r} now")
    return found


def _in_folder(folder: Path) -> PretrainedFiles:
    """A folder as `save_pretrained` writes it; its id is made of its weights and their configuration."""
    kind, weights = _check_complete(folder, str(folder))
    digest = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=8)
    for path in weights:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    content = f"{kind}{_CONTENT}{digest.hexdigest()}"
    remember_folder(content, folder)
    return PretrainedFiles(content, folder)


def _from_hub(model_id: str, called: str, *, offline: bool) -> PretrainedFiles:
    name, _, revision = model_id.partition(_COMMIT)
    if _IS_COMMIT.fullmatch(revision):
        with suppress(ConfigError):  # what was downloaded never changes: nobody needs to be asked
            return _snapshot(name, revision, called, offline=True)
    return _snapshot(name, revision, called, offline=offline)


def _snapshot(name: str, revision: str, called: str, *, offline: bool) -> PretrainedFiles:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(
            f"unknown {called}: not built in, no folder, and no name of a model on the Hugging Face Hub"
        ) from error
    with one_line(name, called, ConfigError, offline=offline):
        folder = download(name, revision or None, _WANTED, _UNWANTED, offline=offline)
    _check_complete(folder, called)
    return PretrainedFiles(f"{name}{_COMMIT}{folder.name}", folder)


def _check_complete(folder: Path, name: str) -> tuple[str, list[Path]]:
    """The kind of model, and its files of weights, all of them there.

    Raises:
        ConfigError: if the folder is no model, or parts of it are missing.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{name}: no model (there is no config.json in it)")
    index = folder / "model.safetensors.index.json"
    try:
        kind = str(json.loads((folder / "config.json").read_bytes())["model_type"])
        shards = json.loads(index.read_bytes())["weight_map"].values() if index.is_file() else ("model.safetensors",)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ConfigError(f"{name}: damaged model ({brief(error)})") from error
    weights = [folder / shard for shard in sorted(set(shards))]
    missing = [path.name for path in weights if not path.is_file()]
    if missing:
        pickled = " (there are pickled weights, which are never loaded)" if list(folder.glob("*.bin")) else ""
        raise ConfigError(f"{name}: has no {missing[0]}{pickled}: it is no safetensors model, or not fully downloaded")
    return kind, weights
