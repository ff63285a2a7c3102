"""What a training tells of itself: its start, with folder and device, and the words for each of its events."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.training.trainer import EpochDone, TrainingFinished, TrainingStarted
from mttsg_core.utils.text import count
from mttsg_core.workflows import events
from mttsg_core.workflows.events import Message

_EPOCH_FIGURES = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


@dataclass(frozen=True)
class RunStarted(TrainingStarted):
    """`TrainingStarted` of a run: its model folder and its device are known as well."""

    folder: Path
    device: str


@events.describe_event.register
def _(event: RunStarted) -> list[Message]:
    data = f"{count(event.videos, 'video')} with {count(event.pairs, 'sentence')}"
    size = f"{event.parameters / 1e6:.2f} M parameters"
    messages = [Message(logging.INFO, f"training on {data}, {size}, {event.device}, into {event.folder}")]
    if event.clipped:
        clipped = f"{count(event.clipped, 'moment')} clipped to the end of the video"
        messages.append(Message(logging.INFO, clipped))
    if event.outside:
        outside = f"{count(event.outside, 'moment')} outside the video, left out (see mttsg check)"
        messages.append(Message(logging.WARNING, outside))
    return messages


@events.describe_event.register
def _(event: EpochDone) -> list[Message]:
    parts = [f"epoch {event.epoch}: loss {event.losses['total']:.3f}"]
    parts += [f"{name} {event.metrics[name]:.1f}" for name in _EPOCH_FIGURES if name in event.metrics]
    best = " *" if event.best else ""
    return [Message(logging.INFO, f"{' | '.join(parts)}{best} ({event.seconds:.1f} s)")]


@events.describe_event.register
def _(event: TrainingFinished) -> list[Message]:
    stopped = ", stopped early" if event.stopped_early else ""
    text = f"kept epoch {event.best_epoch}{stopped}, {event.seconds:.0f} s of training: {event.folder}"
    return [Message(logging.INFO, text)]
