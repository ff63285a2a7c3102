"""Where models and predictions come from: `run.json` in a model folder, and a file beside predictions.

A model's is written when its training starts, and again when it has ended.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path, PurePath
from shlex import quote
from typing import Any

from mttsg_core import __version__
from mttsg_core.checkpoints.files import PROVENANCE, write_json
from mttsg_core.data.pairs import Pair
from mttsg_core.utils.source import source_commit


@dataclass(frozen=True)
class Computation:
    """With what, on what and when something was computed.

    Attributes:
        command: as it was typed; None if the library was called.
        started: date and time in UTC.
        device: that it ran on.
        threads: of the CPU that torch used. Results are equal to the bit for equal numbers of threads.
        mttsg, commit, torch, python: versions; the commit is None unless the program ran from a repository.
    """

    command: str | None
    started: str
    device: str
    threads: int
    mttsg: str
    commit: str | None
    torch: str
    python: str

    @classmethod
    def starting(cls, command: Sequence[str] | None, *, device: str, threads: int) -> Computation:
        """Return the record of a computation that starts now.

        Args:
            command: the words of the command line.
            device: that it runs on.
            threads: of torch.
        """
        return cls(
            command=None if command is None else command_text(command),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            device=device,
            threads=threads,
            mttsg=__version__,
            commit=source_commit(),
            torch=version("torch"),
            python=platform.python_version(),
        )

    @property
    def lines(self) -> list[str]:
        """What pages say of it: the command, and when, on what and with what it ran."""
        commit = f" ({self.commit})" if self.commit else ""
        return [
            *([f"Command: {self.command}"] if self.command else []),
            f"Made {self.started} on {self.device} with {self.threads} CPU threads, mttsg {self.mttsg}{commit} and "
            f"torch {self.torch}",
        ]


@dataclass(frozen=True)
class Provenance:
    """How a model was made. Folders are recorded by their names, so that a shared model tells nothing of a computer.

    Attributes:
        data: name of the data folder.
        rows: digest of the pairs, see `rows_digest`.
        features: digest of the features, see `features.digest.FeaturesDigest`, and their fingerprint.
        videos: number of videos in the training split.
        sentences: number of sentences in the training split.
        validation_sentences: number of sentences in the validation split.
        seed: of the training.
        computation: with what, on what and when.
        division: how the videos were divided anew for it; None if the splits are those of the data folder.
        repeat: a command that trains the same model, with every setting that is not a default; None where the videos
            were divided anew.
        seconds: wall time of all epochs; None until the training has ended.
    """

    data: str
    rows: str
    features: Mapping[str, Any]
    videos: int
    sentences: int
    validation_sentences: int
    seed: int
    computation: Computation
    division: str | None = None
    repeat: str | None = None
    seconds: float | None = None

    def save(self, folder: Path, seconds: float | None = None) -> None:
        """Write the record to a model folder.

        Args:
            folder: of the model.
            seconds: wall time of all epochs, once they are over.

        Raises:
            OSError: if it cannot be written.
        """
        write_json(folder / PROVENANCE, replace(self, seconds=seconds).as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; those of the computation are not a table of their own."""
        values = asdict(self)
        return {**values.pop("computation"), **values}


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
