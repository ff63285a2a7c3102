"""The folder of an index: which videos it is made of, by which models, and who is at work in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mttsg_core.errors import ConfigError, DataError
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.files import is_file
from mttsg_core.utils.locks import hold_lock

METADATA = "mttsg-index.json"
_FORMAT = 1


@dataclass(frozen=True)
class IndexModel:
    """A model by which an index was made.

    Attributes:
        fingerprint: of its space, see `ClipSpace.fingerprint`.
        folder: of the model; None for a pretrained encoder, without training.
        encoder: id of the video encoder.
        fps: clips per second; None if that is not known.
    """

    fingerprint: str
    folder: str | None
    encoder: str
    fps: float | None


@dataclass(frozen=True)
class IndexFolder:
    """What the metadata of an index says.

    Attributes:
        folder: of the index.
        sources: video files and folders that it was made of.
        models: by which it was made, the last one used at the end.
    """

    folder: Path
    sources: tuple[Path, ...] = ()
    models: tuple[IndexModel, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> IndexFolder:
        """Read the metadata of an index.

        Raises:
            DataError: if the folder is not an index, or one of another version.
        """
        path = folder / METADATA
        try:
            content = json.loads(path.read_text(encoding="ascii"))
            if content["format"] != _FORMAT:
                raise DataError(f"{folder}: an index of format {content['format']}; this version reads {_FORMAT}")
            models = tuple(IndexModel(**model) for model in content["models"])
            return cls(folder, tuple(Path(source) for source in content["sources"]), models)
        except OSError as error:
            raise DataError(f"{folder}: not an index") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: damaged; index the videos again into another folder") from error

    @classmethod
    def prepare(cls, folder: Path) -> IndexFolder:
        """Read the metadata of an index, or begin one in a folder that is empty or does not exist.

        Raises:
            DataError: as `read`.
            ConfigError: if the folder holds something else.
        """
        if is_index(folder):
            return cls.read(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: exists and is not an index; choose another folder with --index")
        return cls(folder)

    def extended(self, sources: Sequence[Path], model: IndexModel | None) -> IndexFolder:
        """Return the index with further sources, absolute, and a model that is used now."""
        absolute = [source.absolute() for source in sources]
        models = [other for other in self.models if model is None or other.fingerprint != model.fingerprint]
        return replace(
            self,
            sources=tuple(dict.fromkeys([*self.sources, *absolute])),
            models=(*models, *([] if model is None else [model])),
        )

    def write(self) -> None:
        """Write the metadata. Raises OSError if that is impossible."""
        content: dict[str, Any] = {
            "format": _FORMAT,
            "sources": [str(source) for source in self.sources],
            "models": [asdict(model) for model in self.models],
        }
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(self.folder / METADATA, lambda part: part.write_text(text, encoding="ascii"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from changing the index while the block runs. Raises BusyError if one is at work."""
        with hold_lock(self.folder / ".lock", f"{self.folder}: another indexing"):
            yield


def is_index(path: Path) -> bool:
    """Return whether a path is the folder of an index."""
    return is_file(path / METADATA)
