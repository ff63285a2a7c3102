"""The training loop: yields an event an epoch, keeps the best model, and can resume where it was stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mttsg_core.checkpoints.checkpoint import (
    REPORT,
    WEIGHTS,
    WORDS,
    Model,
    load_model,
    save_description,
    save_weights,
    write_json,
)
from mttsg_core.checkpoints.provenance import rows_digest
from mttsg_core.checkpoints.runs import PREVIOUS, STATE
from mttsg_core.config import NetworkConfig, to_mapping
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.pairs import Pair
from mttsg_core.encoders import TextEncoder
from mttsg_core.encoders.joint_text import JointTextEncoder
from mttsg_core.encoders.word_vectors import HashedWords
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation.reliability import measure_reliability
from mttsg_core.evaluation.sharded import evaluate_together
from mttsg_core.features.declared import DeclaredFeatures
from mttsg_core.features.store import check_fingerprint
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.calibration import UNCALIBRATED
from mttsg_core.modeling.mktn import build_network
from mttsg_core.training.events import EpochDone, TrainingEvent, TrainingFinished, TrainingStarted
from mttsg_core.training.run import Progress, RunSettings, TrainingRun
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.state_file import SavedState
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.distributed import ALONE, Ranks

__all__ = [
    "LOG",
    "EpochDone",
    "RunSettings",
    "TrainingEvent",
    "TrainingFinished",
    "TrainingStarted",
    "train",
]

LOG = "log.jsonl"


def train(
    training: Dataset,
    validation: Dataset | None,
    folder: Path,
    text_encoder: TextEncoder,
    settings: RunSettings | None = None,
    *,
    device: torch.device | None = None,
    resume: SavedState | None = None,
    declared: DeclaredFeatures | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[TrainingEvent]:
    """Train a network and write a model folder.

    Several ranks train one network, each with its part of every batch, to the weights that one process would get; all
    call this with the same arguments. The first one writes; all see the folder.

    Args:
        training: pairs to learn from; each needs a moment and features.
        validation: pairs that decide which epoch is kept and when to stop; None keeps the last epoch.
        folder: of the model; created if missing.
        text_encoder: of the sentences.
        settings: of the training, its losses and the network.
        device: where; None is the CPU.
        resume: state of the run in `folder` that is continued, to the very weights of an unbroken run (on the CPU),
            wherever it stopped; None begins anew.
        declared: what features made elsewhere are; None if nobody said so.
        ranks: the processes that train together.

    Raises:
        DataError: if there is nothing to learn from, nothing to validate on, or something else on another rank.
        FeatureError: if the features of both were made in different ways.
        ConfigError: if `resume` is given with other settings than the run was started with.
        ModelError: if `resume` is not a state of this run.
        TrainingError: if the loss is NaN or infinite, or another rank is lost.
    """
    settings, device = settings or RunSettings(), device or torch.device("cpu")
    config, loss = settings.training, settings.loss
    if ranks.world > config.batch_videos:
        raise ConfigError(f"{ranks.world} processes, but {config.batch_videos} videos a step (--batch-videos)")
    if validation is not None:
        check_fingerprint(validation.fingerprint, training.fingerprint, validation.name)
    sampler = TrainingSampler(training, text_encoder)
    joint = isinstance(text_encoder, JointTextEncoder)
    sizes = {**sampler.feature_sizes(), "word_dim": text_encoder.dim, "joint": joint}
    torch.manual_seed(config.seed)
    net = build_network(NetworkConfig(**{**settings.network, **sizes})).to(device)
    sampler.fit_statistics(net, config.statistics_videos)
    epochs = config.epochs_for(len(sampler.videos))
    steps = config.steps_per_epoch(len(sampler.videos)) * epochs
    run = TrainingRun(net, config, loss, steps, sampler.examples, device, ranks)
    model = Model(net, text_encoder, training.fingerprint, sampler.max_window_seconds(), declared=declared)
    familiarity = sampler.familiarity(config.statistics_videos, knows_words=text_encoder.id != HashedWords.id)
    recorded = {**to_mapping(config), "loss": to_mapping(loss)}
    described = _described(model, recorded, training.pairs)
    ranks.meet()  # reading the features takes some longer than others
    if not ranks.agree(json.dumps([described, sampler.videos, sampler.examples], sort_keys=True, default=str)):
        raise DataError(f"{training.name}: the processes have different features, sentences or settings")
    if resume is not None:
        run.restore(resume, described)
        ranks.meet()  # before the first one writes the next state
    if ranks.is_first and resume is not None:
        _keep_log(folder / LOG, run.progress.epoch)
    elif ranks.is_first:
        for name in (REPORT, WEIGHTS, WORDS, STATE, PREVIOUS, LOG):  # of an earlier run in the same folder
            (folder / name).unlink(missing_ok=True)
        save_description(folder, replace(model, familiarity=familiarity), recorded)
    loop = _Loop(run, model, sampler, validation, folder, epochs)
    yield loop.started()
    yield from loop.epochs_left(described)
    is_enough = validation is not None and len(validation.pairs) >= config.calibration_sentences
    has_weights = run.progress.best_epoch > 0
    ranks.meet()  # the weights are written
    calibrates = is_enough and has_weights
    reliability = _calibrate(folder, validation, device, recorded, ranks) if validation and calibrates else {}
    if ranks.is_first:
        write_json(folder / REPORT, loop.report(reliability))
    ranks.meet()
    yield loop.finished()


def _described(model: Model, recorded: Mapping[str, Any], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what a run that resumes must agree with: settings, network, features, text encoder, and the pairs."""
    return {
        **recorded,
        "network": to_mapping(model.network.config),
        "features": dict(model.fingerprint),
        "text_encoder": model.text_encoder.id,
        "pairs": len(pairs),
        "rows": rows_digest(pairs),
    }


@dataclass(frozen=True)
class _Loop:
    """The epochs of a run, and what is reported of them."""

    run: TrainingRun
    model: Model
    sampler: TrainingSampler
    validation: Dataset | None
    folder: Path
    epochs: int

    @property
    def progress(self) -> Progress:
        return self.run.progress

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.run.network.parameters())

    def started(self) -> TrainingStarted:
        sampler = self.sampler
        return TrainingStarted(
            epoch=self.progress.epoch,
            epochs=self.epochs,
            videos=len(sampler.videos),
            pairs=sampler.pairs,
            parameters=self.parameters,
            clipped=sampler.clipped,
            outside=sampler.outside,
        )

    def epochs_left(self, described: Mapping[str, Any]) -> Iterator[EpochDone]:
        """Train until the last epoch, or until validation no longer improves.

        The state is saved after each epoch, and every few minutes within an epoch.
        """
        grounder = Grounder(MKTNPredictor(replace(self.model, network=self.run.averaged), self.run.device))
        patience = self.run.config.patience_for(self.epochs)
        for epoch in range(self.progress.epoch + 1, self.epochs + 1):
            if self.progress.best_epoch and self.validation and epoch - self.progress.best_epoch > patience:
                break
            start = time.monotonic()
            before = self.progress.seconds

            def save(start: float = start, before: float = before) -> None:
                if not self.run.ranks.is_first:
                    return
                self.progress.seconds = before + time.monotonic() - start
                self.run.save(self.folder, described)

            self.run.ranks.meet()  # the first one may be writing
            losses, norm = self.run.epoch(self.sampler, epoch, save)
            metrics, best = self._validate(grounder, epoch)
            self.progress.epoch = epoch
            self.progress.seconds = before + time.monotonic() - start
            event = EpochDone(epoch, losses, metrics, best, self.run.lr(), norm, time.monotonic() - start)
            if self.run.ranks.is_first:
                with (self.folder / LOG).open("a", encoding="utf-8") as log:
                    log.write(json.dumps(asdict(event)) + "\n")
                self.run.save(self.folder, described)
            yield event

    def _validate(self, grounder: Grounder, epoch: int) -> tuple[Mapping[str, float], bool]:
        """Evaluate the averaged weights and keep them if they are the best so far; of several ranks the first decides.

        Returns:
            The metrics, and whether they are the best.
        """
        ranks = self.run.ranks
        evaluation = evaluate_together(grounder, self.validation, ranks) if self.validation else None
        metrics = json.loads(ranks.text_of_first(json.dumps(evaluation.metrics))) if evaluation else {}
        headline = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
        score = sum(metrics[name] for name in headline) / len(headline) if metrics else float(epoch)
        progress = self.progress
        best = bool(score > progress.best_score)
        if best:
            progress.best_epoch, progress.best_score, progress.best_metrics = epoch, score, dict(metrics)
            if evaluation and ranks.is_first:
                progress.best_intervals = {name: list(ends) for name, ends in evaluation.intervals.items()}
            if ranks.is_first:
                save_weights(self.folder, self.run.averaged)
        return metrics, best

    def finished(self) -> TrainingFinished:
        return TrainingFinished(
            folder=self.folder,
            best_epoch=self.progress.best_epoch,
            metrics=self.progress.best_metrics,
            stopped_early=self.progress.epoch < self.epochs,
            seconds=self.progress.seconds,
        )

    def report(self, reliability: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of `report.json`."""
        return {
            "best_epoch": self.progress.best_epoch,
            "epochs": self.progress.epoch,
            "seconds": self.progress.seconds,
            "videos": len(self.sampler.videos),
            "pairs": self.sampler.pairs,
            "parameters": self.parameters,
            "validation": self.progress.best_metrics,
            "validation_pairs": len(self.validation.pairs) if self.validation else 0,
            "intervals": self.progress.best_intervals,
            "confidence": dict(reliability),
            "calibrated": bool(reliability),
        }


def _calibrate(
    folder: Path, validation: Dataset, device: torch.device, settings: Mapping[str, Any], ranks: Ranks
) -> dict[str, Any]:
    """Calibrate the scores of the kept epoch on the validation split, and report their reliability before and after.

    Both are measured on the split that the two numbers of the calibration are fitted on.
    """
    model = replace(load_model(folder), calibration=UNCALIBRATED)
    grounder = Grounder(MKTNPredictor(replace(model, familiarity=None), device))
    raw = measure_reliability(lambda dataset: evaluate_together(grounder, dataset, ranks), validation)
    calibration = raw.calibration()
    ranks.meet()  # all have read the model
    if ranks.is_first:
        save_description(folder, replace(model, calibration=calibration), settings)
    return {"raw": raw.as_dict(), "calibrated": raw.calibrated(calibration).as_dict()}


def _keep_log(path: Path, epochs: int) -> None:
    """Drop what a stopped run logged after the last state that it saved: those epochs are run again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:epochs]
        write_atomically(path, lambda part: part.write_text("".join(lines), encoding="utf-8"))
