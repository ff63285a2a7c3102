"""The state of a training: weights, their running average, optimiser, schedule, criterion and progress; on disk too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig, with_earlier_values
from mttsg_core.data.batch import Batch, Targets
from mttsg_core.errors import ConfigError, ModelError, TrainingError
from mttsg_core.modeling.mktn import MKTN
from mttsg_core.training.losses import MKTNCriterion
from mttsg_core.training.prefetch import prefetched
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.state_file import SavedState, write_state
from mttsg_core.utils.devices import deterministic_algorithms
from mttsg_core.utils.distributed import ALONE, Ranks

SAVE_SECONDS = 300.0  # between states within an epoch


@dataclass(frozen=True)
class RunSettings:
    """All settings of a training.

    Attributes:
        training: how to train.
        loss: weights of the loss terms.
        network: settings of `NetworkConfig` by name, without the widths, which the features decide.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    network: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Progress:
    """What a stopped run must remember beside its tensors.

    Attributes:
        epoch: epochs done.
        steps: steps done of the epoch after them.
        best_epoch, best_score, best_metrics, best_intervals: of the epoch whose weights are kept.
        seconds: spent in training so far.
    """

    epoch: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_intervals: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


class TrainingRun:
    """A network in training, in single precision on every device.

    On a GPU a step of this network takes as long as its kernels take to be started, not to compute; casts to half
    precision and back would be a tenth of them, and cosines near 1 would come in steps of 0.004.

    Args:
        network: to train, on its device.
        config: how.
        loss: weights and constants of the losses.
        steps: of the whole training.
        pairs: number of training pairs, see `MKTNCriterion`.
        device: of the network.
        ranks: the processes that train it together.
    """

    def __init__(
        self,
        network: MKTN,
        config: TrainingConfig,
        loss: LossConfig,
        steps: int,
        pairs: int,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.network = network
        self.ranks = ranks
        self.config = config
        self.device = device
        self.progress = Progress()
        self._names: tuple[str, ...] = ()  # of the losses and statistics
        self._sums: Tensor | None = None  # (X,) of these, over the steps of the epoch that have been done
        self.criterion = MKTNCriterion(loss, network.config, pairs).to(device)
        self._average_weights = get_ema_multi_avg_fn(config.average)
        self.average = AveragedModel(network, multi_avg_fn=self._average_weights)
        for averaged, current in zip(self.averaged.modules(), network.modules(), strict=True):
            for name, buffer in current.named_buffers(recurse=False):
                setattr(averaged, name, buffer)  # one for both: what is no weight is not averaged
        self.optimizer = torch.optim.AdamW(_decay_groups(network, config.weight_decay), lr=config.lr, fused=True)
        warmup = max(1, round(config.warmup * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(
                (step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup)))
            ),
        )

    @property
    def averaged(self) -> MKTN:
        """The network with the running average of the weights, which is validated and kept."""
        return cast(MKTN, self.average.module)

    def lr(self) -> float:
        """Return the learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def epoch(
        self, sampler: TrainingSampler, epoch: int, save: Callable[[], object] = lambda: None
    ) -> tuple[dict[str, float], float]:
        """Train on every video once, or on those that a stopped run had left of the epoch.

        What is random in a step depends on the seed, the epoch, the number of the step and, in dropout, the rank.

        Args:
            sampler: of the batches.
            epoch: its number.
            save: called between two steps, every `SAVE_SECONDS`.

        Returns:
            The mean of each loss term and statistic, and that of the gradient's norm.

        Raises:
            TrainingError: if the loss is NaN or infinite.
        """
        if not self.progress.steps:
            self._sums = None
        self.network.train()
        self.criterion.train()
        saved = time.monotonic()
        left = islice(sampler.batches(self.config, epoch, self.ranks), self.progress.steps, None)
        with deterministic_algorithms(self.device, required=self.config.deterministic):
            for batch, targets in prefetched(left, self.device):
                if self.progress.steps and time.monotonic() - saved >= SAVE_SECONDS:
                    save()
                    saved = time.monotonic()
                self._step(batch, targets)
        means = {name: value / self.progress.steps for name, value in self._summed().items()}
        self.progress.steps = 0
        if not math.isfinite(means["total"]):
            raise TrainingError(f"epoch {epoch}: loss is NaN or infinite; try a smaller --lr")
        return means, means.pop("norm")

    def _seed(self, *numbers: int) -> int:
        """Return the seed of what is random at a place of the training, given by numbers."""
        return int(np.random.default_rng([self.config.seed, *numbers]).integers(2**63))

    def _step(self, batch: Batch, targets: Targets) -> None:
        """Take one step, and add its losses to the sums of the epoch."""
        batch = batch.to(self.device)
        torch.manual_seed(self._seed(self.progress.epoch, self.progress.steps))
        draws = self.network.draw(batch)
        torch.manual_seed(self._seed(self.progress.epoch, self.progress.steps, self.ranks.rank))  # of the dropout
        output = self.network(batch, draws=draws)
        total, terms, statistics = self.criterion(output, targets.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        losses = add_up_gradients(self.network, {**terms, **statistics, "total": total.detach()}, self.ranks)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self._update_average()
        self.progress.steps += 1
        self._add({**losses, "norm": norm.detach()})

    def _add(self, values: Mapping[str, Tensor]) -> None:
        """Add scalars to the sums of the epoch, which are read back at its end."""
        row = torch.stack([value.float() for value in values.values()])  # (X,)
        if self._sums is not None and self._names != tuple(values):  # they come from a file, in its order
            restored = dict(zip(self._names, self._sums, strict=True))
            self._sums = torch.stack([restored[name] for name in values])
        self._names, self._sums = tuple(values), row if self._sums is None else self._sums + row

    @torch.no_grad()
    def _update_average(self) -> None:
        """Take in the weights of a step; `update_parameters` would upload its counter to a GPU every time."""
        average = self.average
        if not average.n_averaged:
            average.update_parameters(self.network)  # copies them
            return
        self._average_weights(list(self.averaged.parameters()), list(self.network.parameters()), average.n_averaged)
        average.n_averaged += 1

    def _summed(self) -> dict[str, float]:
        """Return the sums of the epoch by name."""
        return {} if self._sums is None else dict(zip(self._names, self._sums.tolist(), strict=True))

    def save(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Write all that `restore` needs, in one step. The state before is kept beside it."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors |= {f"criterion.{name}": value for name, value in self.criterion.state_dict().items()}
        state = self.optimizer.state_dict()["state"]
        tensors |= {f"adam.{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}
        if self.progress.steps:  # within an epoch; each begins with sums of zero
            tensors |= {f"sums.{name}": torch.tensor(value) for name, value in self._summed().items()}
        notes = {
            "progress": asdict(self.progress),
            "settings": dict(settings),
            "schedule": {"last_epoch": self.schedule.last_epoch, "_last_lr": self.schedule.get_last_lr()},
        }
        write_state(folder, tensors, notes)

    def restore(self, saved: SavedState, settings: Mapping[str, Any]) -> None:
        """Continue a stopped run.

        Raises:
            ModelError: if the state is of another run or an earlier version.
            ConfigError: if the run was started with other settings.
        """
        try:
            if "about" in saved.notes:
                raise ModelError(f"{saved.path}: written by an earlier version, which alone can resume it")
            started = _with_defaults(saved.notes["settings"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"{saved.path}: damaged ({error})") from error
        for name, value in settings.items():
            if name not in started:
                continue  # a setting that the version it was started with did not have
            for setting, before, now in _changes(name, started[name], value):
                raise ConfigError(f"the run was started with {setting} = {before!r}, not {now!r}")
        try:
            self._load(saved)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{saved.path}: damaged (not a state of this run)") from error

    def _load(self, saved: SavedState) -> None:
        """Take over a saved state.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError: if it is not one of this run.
        """
        tensors, notes = saved.tensors, saved.notes
        self.network.load_state_dict(_with_prefix(tensors, "network."))
        self.average.load_state_dict(_with_prefix(tensors, "average."))
        self.criterion.load_state_dict(_with_prefix(tensors, "criterion."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _with_prefix(tensors, "adam.").items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        _check_moments(self.optimizer, state)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.schedule.load_state_dict({**self.schedule.state_dict(), **notes["schedule"]})
        for group, lr in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = lr
        self.progress = Progress(**notes["progress"])
        sums = _with_prefix(tensors, "sums.")
        self._names = tuple(sums)
        self._sums = torch.stack(list(sums.values())).to(self.device) if sums else None


def add_up_gradients(network: nn.Module, losses: dict[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Replace the gradients of a network by their sums over all ranks, in one message, and return the sums of losses.

    The loss of each rank is its share in that of the batch (`data.share`), so these are the gradients of the batch. A
    parameter that has none counts as zero, and has one afterwards.
    """
    if ranks.world == 1:
        return losses
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
    scalars = [value.reshape(1).to(gradients[0].dtype) for value in losses.values()]
    flat = ranks.add_up(torch.cat([value.flatten() for value in (*gradients, *scalars)]))
    *parts, last = flat.split([*(parameter.numel() for parameter in parameters), len(scalars)])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)
    return dict(zip(losses, last, strict=True))


def _with_defaults(started: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run was started with, with those that its version did not have."""
    complete = dict(started)
    for table, kind in (("network", NetworkConfig), ("loss", LossConfig)):
        defaults = {declared.name: declared.default for declared in fields(kind) if declared.default is not MISSING}
        if isinstance(started.get(table), Mapping):
            complete[table] = {**defaults, **with_earlier_values(table, started[table])}
    return complete


def _changes(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs between two settings: name and both values. Mappings are compared by their entries."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            yield from _changes(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield name, before, now


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Apply weight decay to matrices only, not to biases and norms."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _check_moments(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Raise KeyError or ValueError if the running moments of Adam are not those of its parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        if number in state and any(state[number][name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError(f"moments of parameter {number}")


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
