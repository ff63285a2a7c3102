"""The training loop: yields an event an epoch, keeps the best model, and can go on where it was stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig, to_mapping
from mttsg_core.data.dataset import Dataset
from mttsg_core.encoders import TextEncoder
from mttsg_core.errors import ConfigError, ModelError, TrainingError
from mttsg_core.evaluation.evaluator import evaluate
from mttsg_core.evaluation.reliability import measure_reliability
from mttsg_core.features.store import same_fingerprint
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.calibration import UNCALIBRATED
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.training.losses import objective
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.devices import half_precision

STATE = Path("state") / "training.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True)
class TrainingStarted:
    """Training is about to begin, or to go on after `epoch` epochs.

    Moments that end past the end of their video are clipped to it; those outside of it teach nothing.
    """

    epoch: int
    epochs: int
    videos: int
    pairs: int
    parameters: int
    clipped: int
    outside: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over.

    `losses` holds the mean of every term, of phi and of the share of negatives dropped (method, section 3).
    `metrics` are of the validation split, in percent; empty without one.
    """

    epoch: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    best: bool
    lr: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class TrainingFinished:
    """The model folder is complete. `metrics` are those of the epoch that was kept."""

    folder: Path
    best_epoch: int
    metrics: Mapping[str, float]
    stopped_early: bool
    seconds: float


TrainingEvent = TrainingStarted | EpochDone | TrainingFinished


@dataclass
class _Progress:
    """What a stopped run must remember beside its tensors."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_intervals: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


def train(
    training: Dataset,
    validation: Dataset | None,
    folder: Path,
    text_encoder: TextEncoder,
    *,
    network: Mapping[str, Any] | None = None,
    loss: LossConfig | None = None,
    config: TrainingConfig | None = None,
    device: torch.device | None = None,
    resume: bool = False,
) -> Iterator[TrainingEvent]:
    """Train a network and write a model folder.

    Args:
        training: pairs to learn from; each needs a moment and features.
        validation: pairs that decide which epoch is kept and when to stop; None keeps the last epoch.
        folder: of the model; made if missing.
        text_encoder: for the sentences.
        network: settings of `NetworkConfig` other than the widths, which the features decide.
        loss: weights of the loss terms.
        config: how to train.
        device: where.
        resume: go on with the run in `folder`, to the very weights of an unbroken run (on the CPU).

    Raises:
        DataError: if there is nothing to learn from, or nothing to validate on.
        FeatureError: if the features of both were made in different ways.
        ConfigError: if `resume` is asked with other settings than the run was started with.
        ModelError: if `resume` is asked and there is nothing to go on with.
        TrainingError: if the loss is no number any more.
    """
    config, loss, device = config or TrainingConfig(), loss or LossConfig(), device or torch.device("cpu")
    if validation is not None:
        same_fingerprint(validation.fingerprint, training.fingerprint, validation.name)
    examples = TrainingSampler(training, text_encoder)
    sizes = examples.feature_sizes()
    torch.manual_seed(config.seed)
    net = build_network(NetworkConfig(**{**(network or {}), **sizes, "word_dim": text_encoder.dim})).to(device)
    examples.fit_statistics(net)
    epochs = config.epochs_for(len(examples.videos))
    run = _Run(net, config, config.steps_per_epoch(len(examples.videos)) * epochs, device)
    about = {**to_mapping(config), "loss": to_mapping(loss)}
    started = {
        **about,
        "network": to_mapping(net.config),
        "features": dict(training.fingerprint),
        "text_encoder": text_encoder.id,
        "pairs": len(training.pairs),
    }
    model = Model(net, text_encoder, training.fingerprint, examples.max_window_seconds())
    if resume:
        run.restore(folder, started)
        _keep_log(folder / LOG, run.progress.epoch)
    else:
        for old in (REPORT, WEIGHTS, WORDS, STATE, LOG):  # of an earlier run in the same folder
            (folder / old).unlink(missing_ok=True)
        save_description(folder, model, about)
    progress = run.progress
    parameters = sum(parameter.numel() for parameter in net.parameters())
    yield TrainingStarted(
        progress.epoch,
        epochs,
        len(examples.videos),
        examples.pairs,
        parameters,
        examples.clipped,
        examples.outside,
    )
    grounder = Grounder(MKTNPredictor(replace(model, network=run.averaged), device))
    for epoch in range(progress.epoch + 1, epochs + 1):
        if progress.best_epoch and validation and epoch - progress.best_epoch > config.patience_for(epochs):
            break
        began = time.monotonic()
        losses, norm = run.epoch(examples, epoch, loss)
        evaluation = evaluate(grounder, validation) if validation else None
        metrics = evaluation.metrics if evaluation else {}
        score = (metrics["R@1,IoU=0.5"] + metrics["R@1,IoU=0.7"] + metrics["mIoU"]) / 3 if metrics else float(epoch)
        best = bool(score > progress.best_score)
        if best:
            progress.best_epoch, progress.best_score, progress.best_metrics = epoch, score, dict(metrics)
            if evaluation:
                progress.best_intervals = {name: list(ends) for name, ends in evaluation.intervals.items()}
            save_weights(folder, run.averaged)
        progress.epoch = epoch
        progress.seconds += time.monotonic() - began
        event = EpochDone(epoch, losses, metrics, best, run.rate(), norm, time.monotonic() - began)
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(event)) + "\n")
        run.save(folder, started)
        yield event
    confidence = _calibrate(folder, validation, device, about) if validation and progress.best_epoch else {}
    finished = TrainingFinished(
        folder, progress.best_epoch, progress.best_metrics, progress.epoch < epochs, progress.seconds
    )
    report = {
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "seconds": progress.seconds,
        "videos": len(examples.videos),
        "pairs": examples.pairs,
        "parameters": parameters,
        "validation": progress.best_metrics,
        "validation_pairs": len(validation.pairs) if validation else 0,
        "intervals": progress.best_intervals,
        "confidence": confidence,
    }
    write_json(folder / REPORT, report)
    yield finished


def _calibrate(folder: Path, validation: Dataset, device: torch.device, about: Mapping[str, Any]) -> dict[str, Any]:
    """Make the scores of the kept epoch mean something, and say how well they do before and after.

    Both are measured on the validation split, from which the two numbers of the calibration are taken.
    """
    model = replace(load_model(folder), calibration=UNCALIBRATED)
    grounder = Grounder(MKTNPredictor(model, device))
    raw = measure_reliability(lambda dataset: evaluate(grounder, dataset), validation)
    calibration = raw.calibration()
    save_description(folder, replace(model, calibration=calibration), about)
    return {"raw": raw.as_dict(), "calibrated": raw.under(calibration).as_dict()}


class _Run:
    """A network in training: weights, their running average, optimiser, schedule and progress."""

    def __init__(self, network: MKTN, config: TrainingConfig, steps: int, device: torch.device) -> None:
        self.network = network
        self.config = config
        self.device = device
        self.progress = _Progress()
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        self.optimizer = torch.optim.AdamW(_decay_groups(network, config.weight_decay), lr=config.lr, fused=True)
        warmup = max(1, round(config.warmup * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(
                (step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup)))
            ),
        )
        half = half_precision(device)
        self.autocast = torch.autocast(device.type, dtype=half, enabled=device.type == "cuda")
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda" and half == torch.float16)

    @property
    def averaged(self) -> MKTN:
        """The network with the running average of the weights: the one that is validated and kept."""
        return cast(MKTN, self.average.module)

    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def epoch(self, examples: TrainingSampler, epoch: int, loss: LossConfig) -> tuple[dict[str, float], float]:
        """Train on every video once; returns the mean of each loss term and of the gradient's norm."""
        torch.manual_seed(int(np.random.default_rng([self.config.seed, epoch]).integers(2**63)))
        self.network.train()
        sums: dict[str, Tensor] = {}
        steps = 0
        for batch in examples.batches(self.config, epoch):
            moved = batch.to(self.device)
            with self.autocast:
                output = self.network(moved)
                total, terms, statistics = objective(self.network, output, moved, loss)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(total).backward()
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.schedule.step()
            self.average.update_parameters(self.network)
            steps += 1
            for name, value in {**terms, **statistics, "total": total.detach(), "norm": norm.detach()}.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        means = {name: float(value) / steps for name, value in sums.items()}
        if not math.isfinite(means["total"]):
            raise TrainingError(f"epoch {epoch}: the loss is no number any more; a smaller --lr may help")
        return means, means.pop("norm")

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write all that `restore` needs, in one step."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        state = self.optimizer.state_dict()["state"]
        tensors |= {f"adam.{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}
        held = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        notes = {
            "progress": asdict(self.progress),
            "about": dict(about),
            "schedule": {"last_epoch": self.schedule.last_epoch, "_last_lr": self.schedule.get_last_lr()},
            "scaler": self.scaler.state_dict(),
        }
        write_atomically(folder / STATE, lambda part: save_file(held, part, {"mttsg": json.dumps(notes)}))

    def restore(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Take up a stopped run."""
        path = find_state(folder)
        try:
            with safe_open(path, framework="pt") as file:
                notes = json.loads(file.metadata()["mttsg"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            started = dict(notes["about"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: damaged ({error})") from error
        for name, value in about.items():
            for what, before, now in _changes(name, started.get(name), value):
                raise ConfigError(f"the run was started with {what} = {before!r}, not {now!r}")
        self.network.load_state_dict(_part(tensors, "network."))
        self.average.load_state_dict(_part(tensors, "average."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, "adam.").items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.schedule.load_state_dict({**self.schedule.state_dict(), **notes["schedule"]})
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        self.scaler.load_state_dict(notes["scaler"])
        self.progress = _Progress(**notes["progress"])


def find_state(folder: Path) -> Path:
    """The file from which the run in a folder goes on.

    Raises:
        ModelError: if there is none.
    """
    if not (folder / STATE).is_file():
        raise ModelError(f"{folder}: nothing to resume (no {STATE} in it)")
    return folder / STATE


def _changes(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """What differs between two settings: its name and both values. Mappings are compared by their entries."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            yield from _changes(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield name, before, now


def _keep_log(path: Path, epochs: int) -> None:
    """Drop what a stopped run logged after the last state that it saved: those epochs come again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:epochs]
        write_atomically(path, lambda part: part.write_text("".join(lines), encoding="utf-8"))


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only, not for biases and norms."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
