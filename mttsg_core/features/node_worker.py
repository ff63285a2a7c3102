"""A worker of a cluster: it extracts one video after the other on its node, as a worker process does on one computer.

It is called for one event at a time, so that whoever calls it hears of progress, and has at most one call under way.
The features are handed over as the bytes of their file. A decoder that crashes or hangs takes down a process below the
worker, so that a worker that is lost was lost with its node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mttsg_core.encoders.base import Settings
from mttsg_core.errors import MttsgError
from mttsg_core.features.extraction import ExtractionWorkers
from mttsg_core.features.jobs import (
    Cause,
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionProgress,
)
from mttsg_core.features.settings import ExtractionSettings
from mttsg_core.features.store import check_fingerprint


@dataclass(frozen=True)
class Step:
    """The next event of the video that a worker extracts.

    Attributes:
        event: the last one of a video is not an `ExtractionProgress`.
        features: the feature file; None unless the event is `Extracted`.
    """

    event: ExtractionEvent
    features: bytes | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a node cannot extract any video: it lacks the encoder, say."""

    reason: str


class NodeWorker:
    """Extracts one video at a time, in a process below this one.

    Args:
        settings: which features.
        fingerprint: that they must have.
    """

    def __init__(self, settings: ExtractionSettings, fingerprint: Settings) -> None:
        self._settings, self._fingerprint = settings, fingerprint
        self._workers: ExtractionWorkers | None = None
        self._steps: Iterator[Step] = iter(())
        self._stack = ExitStack()

    def prepare(self) -> Refusal | None:
        """Build the encoder, and return why this node cannot use it, or None."""
        try:
            encoder = self._settings.build_encoder()
            check_fingerprint(self._settings.fingerprint(encoder), self._fingerprint, "its features")
        except MttsgError as error:
            return Refusal(str(error))
        central = not encoder.runs_in_workers
        workers = ExtractionWorkers(self._settings, encoder, workers=1, central=central, threads=1)
        self._workers = self._stack.enter_context(workers)
        return None

    def begin(self, job: ExtractionJob) -> Step | Refusal:
        """Begin to extract a video, and return its first event."""
        self._steps = self._extract(job)
        return self.proceed()

    def proceed(self) -> Step | Refusal:
        """Return the next event of the video."""
        try:
            return next(self._steps)
        except MttsgError as error:  # does not concern the video alone
            return Refusal(str(error))

    def close(self) -> None:
        """End the process below."""
        self._stack.close()

    def _extract(self, job: ExtractionJob) -> Iterator[Step]:
        if self._workers is None:
            raise RuntimeError("a video for a worker that is not prepared")
        if not _is_seen(job.video):
            yield Step(ExtractionFailed(job, "no such file", Cause.UNSEEN))
            return
        last = None
        with tempfile.TemporaryDirectory(prefix="mttsg-", ignore_cleanup_errors=True) as folder:
            here = replace(job, target=Path(folder) / "features.safetensors", partial=None)
            for event in self._workers.extract([here]):
                step = Step(replace(event, job=job))
                if isinstance(event, ExtractionProgress):
                    yield step
                else:
                    last = (
                        step if not isinstance(event, Extracted) else replace(step, features=here.target.read_bytes())
                    )
        if last is None:
            raise RuntimeError("an extraction without an end")
        yield last  # nothing of it is left here


def _is_seen(video: Path) -> bool:
    """Return whether there is such a file here. One that cannot be read for another reason is."""
    try:
        video.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
