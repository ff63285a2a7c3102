"""What a training leaves beside its model: where it comes from, that it exists, and what to do with it next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from mttsg_core.checkpoints.provenance import Computation, Provenance, rows_digest
from mttsg_core.checkpoints.registry import remember_run, run_number
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.digest import digest_features
from mttsg_core.features.store import EXTERNAL
from mttsg_core.features.streams import FeaturePlaces, feature_words
from mttsg_core.utils.text import count
from mttsg_core.workflows.events import Noted, Warned
from mttsg_core.workflows.train_inputs import TrainingInputs

_FEW = 100  # sentences that are too few to learn words from


@dataclass(frozen=True)
class TrainingRecord:
    """A training and its data.

    Attributes:
        data: the data folder.
        features: folder of external features, or of each stream, as named; None for those of the data folder.
        training, validation: the splits.
        provenance: where the model comes from.
        is_declared: whether it was said what external features are, so that videos can be asked about without any.
    """

    data: DataFolder
    features: FeaturePlaces | None
    training: Dataset
    validation: Dataset | None
    provenance: Provenance
    is_declared: bool = False

    @classmethod
    def start(
        cls,
        data: DataFolder,
        features: FeaturePlaces | None,
        inputs: TrainingInputs,
        computation: Computation,
        *,
        seed: int,
        repeat: str | None,
    ) -> TrainingRecord:
        """Return the record of a training that starts now.

        Args:
            data: the data folder.
            features: folder of external features, as it was named.
            inputs: what it reads.
            computation: with what, on what and when.
            seed: of the training.
            repeat: a command that trains the same model.
        """
        training, validation = inputs.training, inputs.validation
        held_out = validation.pairs if validation else ()
        files = {**(validation.files if validation else {}), **training.files}
        provenance = Provenance(
            data=data.path.resolve().name,
            rows=rows_digest([*training.pairs, *held_out]),
            features={**digest_features(files).as_dict(), "fingerprint": dict(training.fingerprint)},
            videos=len({pair.video for pair in training.pairs}),
            sentences=len(training.pairs),
            validation_sentences=len(held_out),
            seed=seed,
            computation=computation,
            division=data.division,
            repeat=repeat,
        )
        return cls(data, features, training, validation, provenance, inputs.declared is not None)

    def warnings(self, needed: int) -> Iterator[Warned]:
        """Yield one warning if there are too few sentences to learn from, or to calibrate scores on.

        Args:
            needed: validation sentences from which scores are calibrated.
        """
        sentences = len(self.training.pairs)
        held_out = len(self.validation.pairs) if self.validation else 0
        verb = "is" if sentences == 1 else "are"
        reasons = [f"{count(sentences, 'sentence')} {verb} too few to learn words from"] if sentences < _FEW else []
        if held_out < needed:
            have = count(held_out, "validation sentence") if self.validation else "no validation split"
            reasons.append(f"scores are not calibrated ({have}, at least {needed} are needed)")
        if reasons:
            yield Warned("; ".join(reasons))

    def remember(self, folder: Path) -> bool:
        """Make a finished model the default for videos below the same folders. Returns whether that was possible."""
        data = self.data.path
        videos = data / "videos"
        features = [] if self.features is None else [stream.folder for stream in self.data.streams]
        return remember_run(folder, [data, *([videos] if videos.exists() else []), *features])

    def next_steps(self, folder: Path, *, is_default: bool) -> Iterator[Noted]:
        """Yield the commands that measure a finished model and ask it something.

        Args:
            folder: of the model.
            is_default: whether the model is used for this data without being named.
        """
        number = run_number(folder)
        model = "" if is_default else f" --model {number or quote(str(folder))}"
        features = "".join(f" {quote(word)}" for word in feature_words(self.features))
        data = self.data.path
        split = next((name for name in ("test", "val") if name in self.data.splits), None)
        if split is not None:
            chosen = "" if split == "test" else f" --split {split}"
            yield Noted(f"to measure it: mttsg evaluate {quote(str(data))}{chosen}{model}{features}")
        first = self.training.pairs[0]
        if self.is_declared:
            video, features = "VIDEO", ""
        elif self.training.fingerprint["encoder"] == EXTERNAL:
            video, features = "VIDEO", features or self._own_features()
        else:
            video = quote(str(data / "videos" if (data / "videos").is_dir() else data))
        yield Noted(f"to ask it:     mttsg ground {video} {quote(first.query)}{model}{features}")

    def _own_features(self) -> str:
        """Return the options that name the features of the data folder."""
        streams = self.data.streams
        named = [f"{stream.name}={stream.folder}" for stream in streams] if len(streams) > 1 else self.data.features
        return "".join(f" {quote(word)}" for word in feature_words(named))
