"""One film of several moments: each is cut out in a worker process as excerpts are, then they are joined.

All pictures have the form of the first moment's. The sound is that of each video; where one has none, there is silence.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from mttsg_core.errors import VideoError
from mttsg_core.inference.excerpts import Excerpt, ExcerptFailed, cutting_limit, failure_reason
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.utils.processes import WorkerLost, run_in_workers
from mttsg_core.utils.text import count
from mttsg_core.video.join import Piece, join
from mttsg_core.video.mp4_writer import PictureForm
from mttsg_core.video.trim import Trimmed, trim


@dataclass(frozen=True)
class PieceCut:
    """A moment is cut out; `trimmed` says how, and what the source is."""

    excerpt: Excerpt
    trimmed: Trimmed


@dataclass(frozen=True)
class FilmWritten:
    """The film is finished.

    Attributes:
        path: of the film.
        seconds: its length.
        pieces: number of moments in it.
        form: of its pictures.
        resized: number of moments whose source has pictures of another size.
        boxed: number of those with black beside them, because their sides differ in proportion.
        silent: number of moments without sound, where others have some.
    """

    path: Path
    seconds: float
    pieces: int
    form: PictureForm
    resized: int
    boxed: int
    silent: int

    def __str__(self) -> str:
        said = [f"{count(self.pieces, 'moment')}, {self.seconds:.1f} s, {self.form.width} x {self.form.height}"]
        if self.resized:
            bars = f", {self.boxed} of them with black bars" if self.boxed else ""
            said.append(f"{self.resized} of another size were scaled to the first{bars}")
        if self.silent:
            said.append(f"{self.silent} without sound {'is' if self.silent == 1 else 'are'} silent")
        return f"{self.path}: {'; '.join(said)}"


FilmEvent = PieceCut | ExcerptFailed | FilmWritten


def iter_film(
    moments: Iterable[RankedMoment], target: Path, path: Path, *, workers: int = 1
) -> Generator[FilmEvent, None, None]:
    """Write a film of moments in their order; yield an event for each as it is cut out, then `FilmWritten`.

    A moment that cannot be cut out is an event, and missing in the film; without any moment nothing is written. Seconds
    of a video that answer several sentences are in the film once.

    Args:
        moments: what the film shows.
        target: the file to fill.
        path: the name that the film will have, for messages.
        workers: number of processes.

    Raises:
        VideoError: if the pieces cannot be joined.
        OSError: if the target cannot be written.
    """
    with TemporaryDirectory(prefix="mttsg-film-") as folder:
        waiting = _plan(moments, Path(folder))
        cut: dict[Path, PieceCut] = {}
        form: PictureForm | None = None
        while waiting:
            # The first one that can be cut out decides the form; only then the others can be cut beside each other.
            batch, waiting = (waiting, []) if form is not None else (waiting[:1], waiting[1:])
            with closing(_cut_all(batch, form, workers)) as events:
                for event in events:
                    if isinstance(event, PieceCut):
                        cut[event.excerpt.target] = event
                        form = event.trimmed.form
                    yield event
        ordered = [cut[name] for name in sorted(cut)]
        if ordered:
            pieces = [Piece(piece.excerpt.target, piece.excerpt.moment.duration) for piece in ordered]
            join(pieces, target)
            yield _summary(ordered, path)


def _plan(moments: Iterable[RankedMoment], folder: Path) -> list[Excerpt]:
    """Return the moments as excerpts with names in their order, each only once."""
    unique: dict[tuple[Path, float, float], RankedMoment] = {}
    for ranked in moments:
        start, end, _ = ranked.moment
        unique.setdefault((ranked.video.path, round(start, 3), round(end, 3)), ranked)
    return [
        Excerpt(ranked.video.path, ranked.moment, folder / f"{number:06}.mp4")
        for number, ranked in enumerate(unique.values())
    ]


def _cut_all(
    excerpts: Sequence[Excerpt], form: PictureForm | None, workers: int
) -> Generator[PieceCut | ExcerptFailed, None, None]:
    processes = min(workers, len(excerpts))
    cut = partial(_cut, form=form, threads=max(1, workers // processes))
    jobs = [(excerpt, cutting_limit(excerpt.moment)) for excerpt in excerpts]
    with closing(run_in_workers(cut, jobs, processes)) as cutting:
        for excerpt, event in cutting:
            yield ExcerptFailed(excerpt, event.reason) if isinstance(event, WorkerLost) else event


def _cut(excerpt: Excerpt, form: PictureForm | None, threads: int) -> PieceCut | ExcerptFailed:
    start, end, _ = excerpt.moment
    try:
        trimmed = trim(excerpt.video, start, end, excerpt.target, threads=threads, form=form, lossless_sound=True)
    except (VideoError, OSError, MemoryError) as error:
        return ExcerptFailed(excerpt, failure_reason(error, excerpt.target))
    return PieceCut(excerpt, trimmed)


def _summary(pieces: Sequence[PieceCut], path: Path) -> FilmWritten:
    form = pieces[0].trimmed.form
    sizes = [piece.trimmed.size for piece in pieces]
    own = sizes[0]
    resized = [size for size in sizes if size != own]
    with_sound = sum(piece.trimmed.has_sound for piece in pieces)
    return FilmWritten(
        path=path,
        seconds=sum(piece.excerpt.moment.duration for piece in pieces),
        pieces=len(pieces),
        form=form,
        resized=len(resized),
        boxed=sum(form.inner_size(*size) != (form.width, form.height) for size in resized),
        silent=len(pieces) - with_sound if with_sound else 0,
    )
