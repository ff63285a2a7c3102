"""What the page sends and gets, as JSON. Text of files and models is made visible; the page shows it as text only."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from mttsg_core.encoders.base import Array
from mttsg_core.moments import Timeline
from mttsg_core.server.corrections import KeptRow, Kind
from mttsg_core.server.progress import Progress
from mttsg_core.server.searching import Answer
from mttsg_core.utils.text import MAX_CHARACTERS, visible_text
from mttsg_core.workflows.library import LibraryVideo

MAX_TOP = 100
_DIGITS = 2  # of seconds: the page moves ends by no less
_CURVE_POINTS = 4000  # at most; more than any screen shows


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Question(_Message):
    """A sentence to find."""

    query: str = Field(max_length=MAX_CHARACTERS)
    top: int = Field(default=10, ge=1, le=MAX_TOP)
    folder: str = Field(default="", max_length=MAX_CHARACTERS)
    since: str = Field(default="", max_length=40)


class SpanOfVideo(_Message):
    """A moment of a video, and the sentence that it is about."""

    video: str = Field(max_length=100)
    query: str = Field(max_length=MAX_CHARACTERS)
    start: FiniteFloat = Field(ge=0)
    end: FiniteFloat = Field(gt=0)


class Judgement(SpanOfVideo):
    """What a person says about a moment; see `corrections.Correction`."""

    kind: Kind
    score: FiniteFloat = 1.0
    rank: int = Field(default=1, ge=1)


class Choice(_Message):
    """The number of a model."""

    model: int


def video_message(video: LibraryVideo) -> dict[str, Any]:
    """Return a video as the page knows it: without its path."""
    return {"id": video.id, "name": visible_text(video.name), "duration": video.duration}


def answer_message(answer: Answer) -> dict[str, Any]:
    """Return the hits of a sentence."""
    hits = [
        {
            "video": video_message(hit.video),
            "start": round(hit.moment.start, _DIGITS),
            "end": round(hit.moment.end, _DIGITS),
            "score": hit.moment.score,
        }
        for hit in answer.hits
    ]
    warnings = [visible_text(warning) for warning in answer.warnings]
    return {
        "hits": hits,
        "model": visible_text(answer.about),
        "weak_below": answer.weak_below,
        "warnings": warnings,
        "reading": answer.reading,
    }


def curve_message(timeline: Timeline, saliency: Array) -> dict[str, Any]:
    """Return the saliency (T,) over time; of a long video the highest value of each run of clips."""
    edges = np.unique(np.linspace(0, len(saliency), min(len(saliency), _CURVE_POINTS) + 1).astype(int))
    peaks = np.clip(np.maximum.reduceat(saliency, edges[:-1]), 0, 1)
    return {"start": timeline.start, "duration": timeline.duration, "values": [round(float(peak), 3) for peak in peaks]}


def row_message(row: KeptRow) -> dict[str, Any]:
    """Return a row of the data folder."""
    return {
        "id": row.id,
        "kind": row.kind,
        "video": visible_text(row.video),
        "query": visible_text(row.query),
        "start": row.start,
        "end": row.end,
    }


def progress_message(progress: Progress) -> dict[str, Any]:
    """Return how far long work has come."""
    return {
        "task": progress.task,
        "done": round(progress.done, 2),
        "total": progress.total,
        "text": visible_text(progress.text),
        "warnings": [visible_text(warning) for warning in progress.warnings],
    }
