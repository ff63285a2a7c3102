"""The outputs of `mttsg ground`: rows, a page, excerpts and a film, checked before any work and written after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter
from mttsg_cli.edit_outputs import write_edit, write_film
from mttsg_cli.file_per_moment import write_excerpts, write_subtitles
from mttsg_cli.inputs import Inputs
from mttsg_cli.rows import Line
from mttsg_cli.submission import write_submission
from mttsg_cli.table_formats import SUBMISSIONS
from mttsg_cli.viewers import open_page, play
from mttsg_cli.writers import EDITS, FORMAT_NAMES, SUBTITLES, default_format, save_rows
from mttsg_core.config import refuse_unknown
from mttsg_core.errors import ConfigError
from mttsg_core.workflows.outputs import (
    OutputState,
    output_state,
    require_distinct,
    require_folders,
    require_writable,
    save,
)

if TYPE_CHECKING:
    from mttsg_cli.ground_session import Session
    from mttsg_core.inference.excerpts import ExcerptNames


_FILM_SUFFIXES = (".mp4", ".m4v")


@dataclass(frozen=True)
class OutputOptions:
    """The options of the command that are about its outputs."""

    form: str | None
    as_json: bool
    out: Path | None
    html: Path | None
    open_page: bool
    play: bool
    clips: Path | None
    clip_name: str | None
    pad: float | None
    join: Path | None
    overwrite: bool


@dataclass(frozen=True)
class Outputs:
    """What to write.

    Attributes:
        form: format of the rows, one of `FORMAT_NAMES`.
        out: file of the rows; None for standard output.
        subtitles: folder of a file of subtitles for each video, in place of one file of rows; None for no such folder.
        html: file of the page; None for no page.
        rows_due: whether to write the rows; they may exist already.
        page_due: whether to write the page.
        open_page: whether to open the page in the browser.
        play: whether to play the best moment.
        excerpts: folder of the excerpts; None for no excerpts.
        names: names of the excerpts; None for those that suit the number of sentences.
        film: file of the film of all moments, if it is to be written.
        pad: seconds on either side of each moment in excerpts, film and timelines.
        overwrite: replace existing excerpts.
    """

    form: str
    out: Path | None
    subtitles: Path | None
    html: Path | None
    rows_due: bool
    page_due: bool
    open_page: bool
    play: bool
    excerpts: Path | None
    names: ExcerptNames | None
    film: Path | None
    pad: float
    overwrite: bool

    @property
    def files(self) -> tuple[Path | None, ...]:
        """The files of rows, page and film."""
        return self.out, self.html, self.film

    @property
    def any_due(self) -> bool:
        """Whether there is anything to write."""
        return self.rows_due or self.need_all_moments or self.play

    @property
    def need_all_moments(self) -> bool:
        """Whether there is an output that is made of all moments at once."""
        is_of_all = self.rows_due and self.form in (*EDITS, *SUBMISSIONS)
        return self.page_due or self.excerpts is not None or self.film is not None or is_of_all

    @property
    def is_submission(self) -> bool:
        """Whether the rows are a submission to a benchmark that is to be written."""
        return self.rows_due and self.form in SUBMISSIONS

    @property
    def need_saliency(self) -> bool:
        """Whether there is an output that has the curves of the saliency."""
        return self.page_due or self.is_submission

    @property
    def only_rows(self) -> bool:
        """Whether the output does not show what has no row; the table does."""
        return self.form != "table" or self.out is not None

    def write(self, session: Session, lines: Iterable[Line], workers: int | None) -> None:
        """Write the rows as they arrive, then the other outputs."""
        if self.subtitles is not None:
            write_subtitles(session, list(lines), self.subtitles, self.form, overwrite=self.overwrite)
        elif self.rows_due and self.form not in (*EDITS, *SUBMISSIONS):
            save_rows(lines, self.form, self.out, is_complete=lambda: session.is_complete)
        else:
            deque(lines, maxlen=0)  # the other outputs need what the session collects
        if self.is_submission:
            write_submission(session, session.queries, self.form, self.out)
        if self.html is not None and self.page_due:
            _write_page(session, self.html, workers)
        if self.need_all_moments:
            self._write_cuts(session, workers)

    def _write_cuts(self, session: Session, workers: int | None) -> None:
        """Write what consists of pieces of the videos."""
        from mttsg_core.inference.excerpts import pad_moments

        moments = pad_moments(session.moments, self.pad, session.timelines)
        if self.rows_due and self.form in EDITS:
            write_edit(session, moments, self.form, self.out)
        if self.excerpts is not None:
            write_excerpts(session, moments, self.excerpts, self.names, workers, overwrite=self.overwrite)
        if self.film is not None:
            write_film(session, moments, self.film, workers)

    def play_best(self, session: Session) -> bool:
        """Play the best moment of the first sentence, if that is wanted; return False if no player could."""
        reporter = session.display.reporter
        if not self.play:
            return True
        if session.best is None:
            reporter.warn("--play: there is no moment to play")
            return True
        try:
            play(session.best.video.path, session.best.moment, reporter)
        except ConfigError as error:
            reporter.error(str(error))
            return False
        return True

    def show_page(self, reporter: Reporter) -> None:
        """Open the page in the browser, if that is wanted and it exists."""
        if self.open_page and self.html is not None and self.html.is_file():
            open_page(self.html, reporter)


def plan_outputs(options: OutputOptions, inputs: Inputs, reporter: Reporter) -> Outputs:
    """Decide what to write, and say which outputs exist already.

    Raises:
        ConfigError: if an output can never be written, or options contradict each other.
    """
    out = None if options.out == Path("-") else options.out
    form = _chosen_format(options.form, out, as_json=options.as_json)
    subtitles = _subtitle_folder(form, out, inputs, reporter)
    out = None if subtitles is not None else out
    require_folders(options.clips)
    require_distinct({"--out": out, "--html": options.html, "--join": options.join})
    names = _excerpt_names(options.clips, options.clip_name, inputs)
    _check_dependent_options(options, form)
    rows_due = out is None or _is_due(out, reporter, overwrite=options.overwrite)
    page_due = options.html is not None and _is_due(options.html, reporter, overwrite=options.overwrite)
    film_due = options.join is not None and _is_due(options.join, reporter, overwrite=options.overwrite)
    return Outputs(
        form=form,
        out=out,
        subtitles=subtitles,
        html=options.html,
        rows_due=rows_due,
        page_due=page_due,
        open_page=options.open_page,
        play=options.play,
        excerpts=options.clips,
        names=names,
        film=options.join if film_due else None,
        pad=options.pad or 0.0,
        overwrite=options.overwrite,
    )


def _check_dependent_options(options: OutputOptions, form: str) -> None:
    """Raise ConfigError if an option is about an output that is not asked for, or that cannot be made."""
    if options.pad is not None and options.clips is None and options.join is None and form not in EDITS:
        raise ConfigError(f"--pad: needs --clips, --join, or --format {'|'.join(EDITS)}")
    if options.open_page and options.html is None:
        raise ConfigError("--open: name the page with --html FILE")
    if options.join is not None and options.join.suffix.lower() not in _FILM_SUFFIXES:
        raise ConfigError(f"{options.join}: a film is an mp4 file; name it so")
    if form in EDITS:
        from mttsg_core.inference.edit_timeline import require_edit_format

        require_edit_format(form)


def _subtitle_folder(form: str, out: Path | None, inputs: Inputs, reporter: Reporter) -> Path | None:
    """Return the folder for a file of subtitles for each video, if --out is one."""
    if form not in SUBTITLES:
        return None
    if out is not None and (out.is_dir() or (inputs.are_searched and not out.suffix and not out.exists())):
        require_writable(out)
        return out
    if inputs.are_searched:
        reporter.say(
            f"subtitles of several videos in one {'stream' if out is None else 'file'}, which no player takes; "
            "--out FOLDER writes a file for each video"
        )
    return None


def _chosen_format(form: str | None, out: Path | None, *, as_json: bool) -> str:
    """Return one of `FORMAT_NAMES`."""
    if as_json and form not in (None, "json"):
        raise ConfigError(f"--json and --format {form}: give one of them")
    chosen = "json" if as_json else form or default_format(out)
    refuse_unknown([chosen], FORMAT_NAMES, "format")
    return chosen


def _excerpt_names(folder: Path | None, template: str | None, inputs: Inputs) -> ExcerptNames | None:
    """Return the names that the user wants, after making the folder. Raises ConfigError if it cannot take them."""
    if folder is None:
        if template is not None:
            raise ConfigError("--clip-name: name a folder with --clips DIR")
        return None
    from mttsg_core.inference.excerpts import ExcerptNames

    if any(path.is_dir() and is_inside(path, folder) for path in inputs.videos):
        raise ConfigError(f"{folder}: the excerpts would be among the videos; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    require_writable(folder)  # now, not after all the work
    return None if template is None else ExcerptNames(template)


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or something in it."""
    return path.resolve().is_relative_to(folder.resolve())


def _is_due(path: Path, reporter: Reporter, *, overwrite: bool) -> bool:
    """Return whether to write a file, and say why not. Raises ConfigError if it can never be written."""
    state = output_state(path)
    if overwrite or state is OutputState.MISSING:
        return True
    if state is OutputState.INCOMPLETE:
        reporter.say(f"{path}: some inputs failed when it was written; writing it again")
        return True
    if state is OutputState.DAMAGED:
        reporter.say(f"{path}: is empty or cut off; writing it again")
        return True
    reporter.say(f"{path}: already exists, skipped; --overwrite replaces it")
    return False


def _write_page(session: Session, path: Path, workers: int | None) -> None:
    from mttsg_core.features.extraction import default_workers
    from mttsg_core.report import moment_stills, render_moments_page
    from mttsg_core.workflows.events import ProgressAdvanced, ProgressStarted

    stills = {}
    session.display.show(ProgressStarted("thumbnails", len({ranked.video for ranked in session.moments})))
    with closing(moment_stills(session.moments, workers=workers or default_workers())) as taken:
        for _, of_video in taken:
            stills.update(of_video)
            session.display.show(ProgressAdvanced("thumbnails"))
    content = render_moments_page(
        session.videos,
        session.moments,
        path,
        stills=stills,
        model=session.model,
        made=session.made,
        show_scores=session.shows_scores,
    ).encode("utf-8")
    save(path, lambda part: part.write_bytes(content), is_complete=lambda: session.is_complete)
