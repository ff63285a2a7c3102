"""Where a model comes from: `run.json` in its folder, written when its training starts and again when it has ended."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path, PurePath
from shlex import quote

from mttsg_core import __version__
from mttsg_core.checkpoints.files import PROVENANCE, write_json
from mttsg_core.data.pairs import Pair
from mttsg_core.utils.source import source_commit


@dataclass(frozen=True)
class Provenance:
    """How a model was made. Folders are recorded by their names, so that a shared model tells nothing of a computer.

    Attributes:
        data: name of the data folder.
        rows: digest of the pairs, see `rows_digest`.
        videos: number of videos in the training split.
        sentences: number of sentences in the training split.
        validation_sentences: number of sentences in the validation split.
        device: that it was trained on.
        seed: of the training.
        command: as it could be typed; None if the library was called.
        started: date and time in UTC.
        seconds: wall time of all epochs; None until the training has ended.
        mttsg, commit, torch, python: versions; the commit is None unless the program ran from a repository.
    """

    data: str
    rows: str
    videos: int
    sentences: int
    validation_sentences: int
    device: str
    seed: int
    command: str | None
    started: str
    seconds: float | None
    mttsg: str
    commit: str | None
    torch: str
    python: str

    @classmethod
    def of_training(
        cls,
        data: Path,
        training: Sequence[Pair],
        validation: Sequence[Pair],
        *,
        device: str,
        seed: int,
        command: Sequence[str] | None,
    ) -> Provenance:
        """Return the record of a training that starts now.

        Args:
            data: the data folder.
            training: pairs that it learns from.
            validation: pairs that it is validated on.
            device: that it runs on.
            seed: of the training.
            command: the words of the command line.
        """
        return cls(
            data=data.resolve().name,
            rows=rows_digest([*training, *validation]),
            videos=len({pair.video for pair in training}),
            sentences=len(training),
            validation_sentences=len(validation),
            device=device,
            seed=seed,
            command=None if command is None else command_text(command),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=None,
            mttsg=__version__,
            commit=source_commit(),
            torch=version("torch"),
            python=platform.python_version(),
        )

    def save(self, folder: Path, seconds: float | None = None) -> None:
        """Write the record to a model folder.

        Args:
            folder: of the model.
            seconds: wall time of all epochs, once they are over.

        Raises:
            OSError: if it cannot be written.
        """
        write_json(folder / PROVENANCE, asdict(replace(self, seconds=seconds)))


def command_text(words: Iterable[str]) -> str:
    """Return a command line as it could be typed; of absolute paths, only the last part, so that it can be shared.

    >>> command_text(["mttsg", "ground", "/home/ada/a.mp4", "a dog"])
    "mttsg ground a.mp4 'a dog'"
    >>> command_text(["mttsg", "compare", "data", "ours=/home/ada/1,/home/ada/2"])
    'mttsg compare data ours=1,2'
    """
    return " ".join(map(_without_folder, words))


def rows_digest(pairs: Iterable[Pair]) -> str:
    """Return a digest of what is trained on: videos, sentences and moments, in any order.

    Two data folders have the same one if a model could learn the same from their rows, whatever the form of the files.
    """
    rows = sorted(json.dumps([pair.video, pair.query, pair.moments]) for pair in pairs)
    return f"sha256:{hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}"


def _without_folder(word: str) -> str:
    return quote("".join(map(_last_part, re.split("([=,])", word))))


def _last_part(text: str) -> str:
    path = PurePath(text)
    return path.name if path.is_absolute() and path.name else text
