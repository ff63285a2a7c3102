"""The outputs of `mttsg ground` for the evaluators of benchmarks: a row for each query of a file, with its own id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mttsg_cli.writers import print_text
from mttsg_core.errors import ConfigError
from mttsg_core.utils.json_lines import to_json
from mttsg_core.workflows.outputs import save

if TYPE_CHECKING:
    from mttsg_cli.ground_session import Session
    from mttsg_core.data.pairs import Pair
    from mttsg_core.data.queries import Query
    from mttsg_core.moments import Moment
    from mttsg_core.video.discovery import VideoFile

MOMENTS = 10  # of a query, unless --top says otherwise: the evaluators look at no more


def of_own_videos(queries: Iterable[Query], form: str) -> Iterator[Query]:
    """Yield queries. Raises ConfigError for one that does not name its video, which a submission has to."""
    for query in queries:
        if query.video is None:
            raise ConfigError(f"--format {form}: each sentence needs its video; give rows with one by --queries FILE")
        yield query


def write_submission(session: Session, queries: Sequence[Query], form: str, path: Path | None) -> None:
    """Write a row for each query, to a file or to standard output; those without an answer are left out, and counted.

    Args:
        session: what was found.
        queries: in order, each with its video.
        form: a key of `PREDICTION_FORMS`.
        path: of the file; None for standard output.

    Raises:
        ConfigError: if the file cannot be written.
    """
    from mttsg_core.data.prediction_writers import prediction_records

    answers = [answer for answer in _answers(session, queries) if answer.moments]
    if len(answers) < len(queries):
        left_out = len(queries) - len(answers)
        session.display.reporter.warn(f"{left_out} of {len(queries)} queries without an answer left out")
    records = prediction_records(
        [answer.pair for answer in answers],
        [answer.moments for answer in answers],
        [answer.saliency for answer in answers],
        form,
    )
    text = "".join(to_json(record) + "\n" for record in records)
    if path is None:
        print_text(text)
    else:
        content = text.encode("utf-8", "surrogateescape")
        save(path, lambda part: part.write_bytes(content), is_complete=lambda: session.is_complete)


class _Answer(NamedTuple):
    """What was found for a query: the query as a pair, its moments, and the scores of its video's clips."""

    pair: Pair
    moments: Sequence[Moment] = ()
    saliency: Sequence[float] = ()


def _answers(session: Session, queries: Iterable[Query]) -> Iterator[_Answer]:
    """Yield what was found for each query."""
    from mttsg_core.data.clip_ratings import scores_of_clips
    from mttsg_core.data.pairs import Pair

    found: dict[tuple[VideoFile, str], list[Moment]] = {}
    for ranked in session.moments:
        found.setdefault((ranked.video, ranked.query), []).append(ranked.moment)
    grounded = {one.video: one for one in session.videos}
    for number, query in enumerate(queries, start=1):
        name = query.video or ""
        video = session.assigner.find(name)
        pair = Pair(str(number) if query.id is None else query.id, name, query.text, duration=query.duration)
        own = None if video is None else grounded.get(video)
        if video is None or own is None or query.text not in own.saliency:
            yield _Answer(pair)
        else:
            scores = scores_of_clips(own.saliency[query.text], own.timeline, query.duration)
            yield _Answer(pair, found.get((video, query.text), ()), scores)
