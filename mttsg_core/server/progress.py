"""How far long work has come, made of its events."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from mttsg_core.features.extraction import Extracted, ExtractionFailed, ExtractionPassedOver, ExtractionProgress
from mttsg_core.workflows.events import ProgressAdvanced, ProgressStarted, describe_event

_KEPT_WARNINGS = 20
_STEPS_OF_EXTRACTION = (Extracted, ExtractionFailed, ExtractionPassedOver)


@dataclass(frozen=True)
class Progress:
    """How far work has come.

    Attributes:
        task: as in `ProgressStarted`; empty before the first.
        done, total: steps of the task; those of videos in work count in parts.
        text: the last line about it.
        warnings: lines to look at, and those about what failed: the last ones.
    """

    task: str = ""
    done: float = 0.0
    total: float = 0.0
    text: str = ""
    warnings: tuple[str, ...] = ()

    def after(self, event: object) -> Progress:
        """Return the progress after an event of a workflow.

        >>> Progress().after(ProgressStarted("training", 3)).after(ProgressAdvanced("training"))
        Progress(task='training', done=1, total=3, text='', warnings=())
        """
        if isinstance(event, ProgressStarted):
            return replace(self, task=event.task, done=event.done, total=event.total)
        messages = describe_event(event)
        lines = [message.text for message in messages if message.level >= logging.INFO]
        warnings = [message.text for message in messages if message.level >= logging.WARNING]
        steps = 0
        if isinstance(event, ProgressAdvanced):
            steps = event.steps
        elif isinstance(event, _STEPS_OF_EXTRACTION):
            steps = 1
        elif isinstance(event, ExtractionProgress):
            lines = [f"{event.job.video.name}: {event.seconds:.0f} of {event.total_seconds:.0f} s"]
        return replace(
            self,
            done=self.done + steps,
            text=lines[-1] if lines else self.text,
            warnings=(*self.warnings, *warnings)[-_KEPT_WARNINGS:],
        )
