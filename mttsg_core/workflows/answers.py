"""Files of predictions, and where they come from: in a file beside them, and in a few lines on pages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mttsg_core.checkpoints.files import PROVENANCE, RECORD_SUFFIX, WEIGHTS, read_json_if_any, write_json
from mttsg_core.checkpoints.provenance import Computation, rows_digest
from mttsg_core.checkpoints.summary import summarise
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.prediction_writers import OWN_FORM, write_predictions
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.features.digest import digest_features
from mttsg_core.utils.devices import choose_device
from mttsg_core.workflows.outputs import follow_links, prepare_new_file
from mttsg_core.workflows.threads import limited_threads


@dataclass(frozen=True)
class AnswersOrigin:
    """Where answers come from.

    Attributes:
        data: the data folder.
        files: the feature file of each video; empty if the answers were read from a file.
        answered_by: what answered, in one line without folders of this computer.
        model: its folder; None if it is not a trained model.
        computation: with what, on what and when.
        seconds: wall time so far.
    """

    data: DataFolder
    files: Mapping[str, Path]
    answered_by: str
    model: Path | None
    computation: Computation
    seconds: float

    def as_dict(self, found: Evaluation) -> dict[str, Any]:
        """Return plain values, ready for JSON. Of folders only the names are recorded."""
        model = None
        if self.model is not None:
            weights = hashlib.sha256((self.model / WEIGHTS).read_bytes()).hexdigest()
            training = read_json_if_any(self.model / PROVENANCE)
            model = {"name": summarise(self.model).name, "weights": f"sha256:{weights}", "training": training}
        return {
            **asdict(self.computation),
            "seconds": round(self.seconds, 3),
            "data": self.data.path.resolve().name,
            "division": self.data.division,
            "split": found.split,
            "mode": found.mode,
            "rows": rows_digest(found.pairs),
            "queries": len(found.pairs),
            "videos": found.videos,
            "features": digest_features(self.files).as_dict() if self.files else None,
            "answered_by": self.answered_by,
            "model": model,
        }

    def lines(self, pairs: Sequence[Pair]) -> list[str]:
        """Return the lines of a page on how it was made."""
        features = [f"Features: {digest_features(self.files).digest[:19]}…"] if self.files else []
        return [
            f"Data folder: {self.data.path.resolve().name}, rows {rows_digest(pairs)[:19]}…",
            *features,
            *self.computation.lines,
        ]


@dataclass(frozen=True)
class Clock:
    """When a computation started, and with what."""

    computation: Computation
    begun: float

    @classmethod
    def start(cls, command: Sequence[str] | None, device: str) -> Clock:
        """Start it. Arguments are the words of the command line, and the device as it was asked for.

        Raises:
            ConfigError: if the device is not available.
        """
        chosen = choose_device(device)
        with limited_threads(chosen):
            threads = torch.get_num_threads()
        return cls(Computation.starting(command, device=str(chosen), threads=threads), time.monotonic())

    def origin(
        self, data: DataFolder, files: Mapping[str, Path], answered_by: str = "", model: Path | None = None
    ) -> AnswersOrigin:
        """Return where answers that exist by now come from. Arguments are those of `AnswersOrigin`."""
        return AnswersOrigin(data, files, answered_by, model, self.computation, time.monotonic() - self.begun)


def record_path(predictions: Path) -> Path:
    """Return the file beside predictions that says where they come from: `a.provenance.json` for `a.jsonl`."""
    return predictions.with_suffix(RECORD_SUFFIX)


def prepare_answers(path: Path, *, overwrite: bool) -> None:
    """Make the folder of a file of predictions.

    Raises:
        ConfigError: as `prepare_new_file`, for the file beside it too.
    """
    for file in (path, record_path(path)):
        prepare_new_file(file, overwrite=overwrite)


def save_answers(path: Path, found: Evaluation, origin: AnswersOrigin, form: str = OWN_FORM) -> None:
    """Write predictions, and beside them where they come from; for a pipe or a terminal, the predictions alone.

    Args:
        path: of the predictions.
        found: the predictions.
        origin: where they come from.
        form: of the file, a key of `prediction_writers.PREDICTION_FORMS`.

    Raises:
        DataError: if the predictions cannot be written.
        OSError: if the file beside them cannot be written.
    """
    target = follow_links(path)
    write_predictions(target, found.pairs, found.predictions, found.saliency, form)
    if target.is_file():
        write_json(record_path(path), {"predictions": path.name, **origin.as_dict(found)})


def files_of(data: DataFolder, pairs: Sequence[Pair]) -> dict[str, Path]:
    """Return the feature file in a data folder for each video of some queries, for those that have one."""
    files: dict[str, Path] = {}
    for pair in pairs:
        match = data.match_features(pair.video)
        files |= {} if match is None else match.files(data.video_key(pair.video))
    return files
