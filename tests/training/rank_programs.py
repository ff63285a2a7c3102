"""What the processes of `test_ranks` do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.dataset import Dataset
from mttsg_core.errors import TrainingError
from mttsg_core.training import run as training_run
from mttsg_core.training.run import RunSettings, TrainingRun
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.state_file import read_state
from mttsg_core.training.trainer import train
from mttsg_core.utils.distributed import Ranks
from tests.helpers.tiny import NO_DROPOUT, SIZES, dataset, network
from tests.training.runs import HASHED, epochs_of

LOSS = LossConfig(mining=0.3)
CONFIG = TrainingConfig(epochs=3, batch_videos=4, average=0.5, patience=9.0, seed=7, calibration_sentences=6)
Values = dict[str, npt.NDArray[np.float32]]  # tensors would be shared between processes
Step = tuple[dict[str, float], Values]


def data_of(folder: Path, videos: int, *, name: str = "train", regions: bool = True) -> Dataset:
    """Make a data set in which all sentences differ: which of two equal ones is nearer is a matter of rounding."""
    made = dataset(folder, videos, name=name, regions=regions)
    named = enumerate(made.pairs)
    pairs = [replace(pair, query=f"{pair.query} {number * 7} of {number * 3}") for number, pair in named]
    return replace(made, pairs=pairs)


def steps_of(
    ranks: Ranks, folder: Path, steps: int, networks: Sequence[dict[str, Any]]
) -> list[tuple[list[Step], Values]]:
    """Take steps without dropout with each of several networks, see `steps_of_network`."""
    return [steps_of_network(ranks, folder, steps, settings) for settings in networks]


def steps_of_network(ranks: Ranks, folder: Path, steps: int, settings: dict[str, Any]) -> tuple[list[Step], Values]:
    """Take steps without dropout; return the losses and gradients of each, and the weights after them."""
    regions = settings.get("regions", True)
    sampler = TrainingSampler(data_of(folder / f"features{ranks.rank}-{regions}", 10, regions=regions), HASHED)
    net = network(word_dim=HASHED.dim, **NO_DROPOUT, **settings)
    run = TrainingRun(net, CONFIG, LOSS, 40, sampler.examples, torch.device("cpu"), ranks)
    taken: list[Step] = []
    add_up = training_run.add_up_gradients

    def record(network: torch.nn.Module, losses: dict[str, torch.Tensor], ranks: Ranks) -> dict[str, torch.Tensor]:
        summed = add_up(network, losses, ranks)
        named = network.named_parameters()
        gradients = {name: value.grad.numpy().copy() for name, value in named if value.grad is not None}
        taken.append(({name: float(value) for name, value in summed.items()}, gradients))
        return summed

    training_run.add_up_gradients = record
    try:
        for epoch in range(1, 1 + -(-steps // CONFIG.steps_per_epoch(10))):
            run.epoch(sampler, epoch)
    finally:
        training_run.add_up_gradients = add_up
    weights = {name: value.detach().numpy() for name, value in run.averaged.named_parameters()}
    return taken[:steps], weights


def messages_of_a_step(ranks: Ranks, folder: Path) -> dict[str, int]:
    """Take a step; return how often the ranks waited for each other in it, by the method."""
    sampler = TrainingSampler(data_of(folder / f"features{ranks.rank}", 10), HASHED)
    run = TrainingRun(network(word_dim=HASHED.dim), CONFIG, LOSS, 40, sampler.examples, torch.device("cpu"), ranks)
    run.network.train()
    counts = dict.fromkeys(("gather", "add_up", "add_up_own", "meet"), 0)

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            counts[name] += 1
            return method(*arguments)

        return count

    for name in counts:
        setattr(ranks, name, counted(name, getattr(ranks, name)))
    run._step(*next(sampler.batches(CONFIG, 1, ranks)))
    return dict(counts)


def train_until(
    ranks: Ranks,
    folder: Path,
    out: str,
    stop: int | None = None,
    *,
    resume: bool = False,
    dropout: bool = False,
    saves: bool = False,
) -> list[dict[str, float]]:
    """Train in `folder / out`; return the losses and metrics of each epoch.

    Args:
        ranks: the processes.
        folder: of everything.
        out: model folder.
        stop: number of steps after which every rank stops with a TrainingError.
        resume: continue.
        dropout: whether there is any.
        saves: whether the state is saved after every step.
    """
    training, validation = data_of(folder / "features", 10), data_of(folder / "features", 5, name="val")
    taken = 0
    step, seconds = TrainingRun._step, training_run.SAVE_SECONDS

    def counted(run: TrainingRun, *arguments: Any) -> None:
        nonlocal taken
        if taken == stop:
            raise TrainingError("stopped by the test")
        taken += 1
        step(run, *arguments)

    setattr(TrainingRun, "_step", counted)  # noqa: B010 -- mypy refuses the assignment
    training_run.SAVE_SECONDS = 0.0 if saves else seconds
    settings = RunSettings(CONFIG, LOSS, SIZES if dropout else {**SIZES, **NO_DROPOUT})
    try:
        state = read_state(folder / out) if resume else None
        events = list(train(training, validation, folder / out, HASHED, settings, resume=state, ranks=ranks))
    finally:
        setattr(TrainingRun, "_step", step)  # noqa: B010
        training_run.SAVE_SECONDS = seconds
    return [{**event.losses, **event.metrics} for event in epochs_of(events)]


def stop_in_training(ranks: Ranks, folder: Path, how: str) -> None:
    """Train on two ranks, of which the second one is killed, is frozen or has an error after three steps."""
    if ranks.rank == 1 and how == "error":
        train_until(ranks, folder, "m", stop=3)
    step = TrainingRun._step
    taken = 0

    def stopping(run: TrainingRun, *arguments: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == 3 and run.ranks.rank == 1 and how in ("killed", "frozen"):
            os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        step(run, *arguments)

    setattr(TrainingRun, "_step", stopping)  # noqa: B010 -- mypy refuses the assignment
    train_until(ranks, folder, "m")


def freeze_before_meeting(ranks: Ranks) -> None:
    """Wait for a process that is frozen."""
    ranks.meet()
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    ranks.meet()


def tell(ranks: Ranks, folder: Path) -> tuple[str, bool, bool, list[int]]:
    """Return what the ranks tell each other: a text of the first, whether they agree, and when each had its turn."""
    order = folder / "order"
    for is_own_turn in ranks.take_turns():
        if is_own_turn:
            with order.open("a") as file:
                file.write(f"{ranks.rank}\n")
    text = ranks.text_of_first(f"rank {ranks.rank} é")
    return text, ranks.agree("same"), ranks.agree(str(ranks.rank)), [int(line) for line in order.read_text().split()]
