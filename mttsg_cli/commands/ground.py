"""`mttsg ground`."""

from __future__ import annotations

import sys
import time
from collections import deque
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mttsg_cli import options
from mttsg_cli.console import SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.ground_session import Session, write_excerpts, write_page
from mttsg_cli.model_loading import load_any
from mttsg_cli.writers import FORMATS, default_format, is_due, need_folders, need_no_video, need_two_files, save_rows
from mttsg_core.config import refuse_unknown
from mttsg_core.errors import ConfigError, VideoNotFoundError
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile, find_videos

if TYPE_CHECKING:
    from mttsg_core.data.queries import Query
    from mttsg_core.inference.excerpts import ExcerptNames


def ground(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, or a folder to look into.")],
    queries: Annotated[list[str] | None, typer.Argument(metavar="QUERY", help="Sentences.")] = None,
    queries_file: Annotated[
        Path | None,
        typer.Option("--queries", "-Q", metavar="FILE", help="Sentences: a line each, or jsonl; - is standard input."),
    ] = None,
    model: options.Model = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            "-k",
            min=1,
            metavar="N",
            help="The best N answers to each sentence: of the video, or of the whole folder. Default: the best of each "
            "video.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="Default: as the file's name ends, else table on a terminal and tsv elsewhere.",
            autocompletion=lambda: list(FORMATS),
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write there; - is standard output.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, metavar="S", help="Leave out answers that score less.")
    ] = 0.0,
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips",
            metavar="DIR",
            help="Cut each answer into an mp4 of its own there. Videos that lie there are not searched.",
        ),
    ] = None,
    clip_name: Annotated[
        str | None,
        typer.Option(
            "--clip-name",
            metavar="TEMPLATE",
            help="Names of clips, of {video} {rank} {start} {end} {query} {score}. "
            "Default: {video}_{rank}_{start}-{end}.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with players and moments to click on.")
    ] = None,
    features: options.Features = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="ID",
            help="Answer without any training, by a pretrained model such as CLIP: its name on the Hugging Face Hub or "
            "a folder. With --model: the folder of its encoder, if that is not known here yet.",
        ),
    ] = None,
    text_encoder: options.KnownTextEncoder = None,
    fps: Annotated[
        float | None,
        options.fps_option(
            "Clips a second of an answer without training. Default: 2. A trained model has its own, and another is "
            "refused."
        ),
    ] = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    seed: options.NoSeed = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the moments of a video, or of every video in a folder, that sentences describe.

    Files that are there are kept, unless inputs failed when they were made: the same command again does the rest.

    Before any model is trained, a pretrained one such as CLIP, SigLIP or X-CLIP compares the frames with the sentence.

    Examples:

        mttsg ground video.mp4 "person opens door"

        mttsg ground videos/ "person opens door" "person sits down" --top 3 --format csv

        mttsg ground videos/ --queries sentences.txt --format jsonl --out moments.jsonl

        mttsg ground video.mp4 "person opens door" --encoder laion/CLIP-ViT-B-32-laion2B-s34B-b79K

        mttsg ground videos/ "person opens door" --top 10 --clips clips/ --html moments.html
    """
    with exit_codes():
        reporter = Reporter(quiet=quiet, verbose=verbose)
        began = time.monotonic()
        out = None if out == Path("-") else out
        form = _chosen_format(form, out, as_json=as_json)
        need_folders(cache, clips)
        need_two_files(out, html)
        names = _clip_names(clips, clip_name, video)
        rows_due = out is None or is_due(out, reporter, overwrite=overwrite)
        page_due = html is not None and is_due(html, reporter, overwrite=overwrite)
        if not (rows_due or page_due or clips):
            return
        from mttsg_core.data.queries import assign
        from mttsg_core.inference.ranking import best_over_videos
        from mttsg_core.utils.devices import limit_threads

        questions = _read_questions(queries or [], queries_file, reporter)
        if features is None and not video.exists():
            raise VideoNotFoundError(video, "no such file")  # before any model is loaded, or even downloaded
        folder = video.is_dir()
        videos = find_videos([video]) if features is None or folder else [VideoFile(video, Path(video.name))]
        need_no_video((out, html), (one.path for one in videos))
        if folder and clips is not None:
            videos = _without(videos, clips, reporter)
        asked, missing = assign(questions, videos)
        session = Session(asked, reporter)
        for name in missing:
            session.fail(f"{name}: no such video below {video}")
        if not asked:
            raise ConfigError("no sentence is asked of any video")
        grounder = load_any(
            model,
            reporter,
            encoder=encoder,
            text_encoder=text_encoder,
            fps=fps,
            with_features=features is not None,
            device=device,
            cache=cache,
            offline=offline,
        )
        limit_threads(grounder.device)
        read = session.extract(grounder, workers) if features is None else session.find_features(features)
        found = session.ground(grounder, read, top or 1, threshold, with_saliency=page_due)
        if top is not None and folder:
            found = iter(best_over_videos(found, top))
        lines = session.lines(found, "any video" if folder else str(video))
        begun = list(islice(lines, 1))  # not even a header is written where nothing could be read
        if begun:
            lines = chain(begun, lines)
            if rows_due:
                save_rows(lines, form, out, is_whole=lambda: session.is_whole)
            else:
                deque(lines, maxlen=0)  # for the other outputs
            if html is not None and page_due:
                write_page(session, html)
            if clips is not None and names is not None:
                write_excerpts(session, clips, names, workers, overwrite=overwrite)
        reporter.say(f"{session.figures}, {time.monotonic() - began:.1f} s")
        if session.failed:
            raise typer.Exit(SOME_FAILED if begun else UNUSABLE)


def _chosen_format(form: str | None, out: Path | None, *, as_json: bool) -> str:
    """A key of `FORMATS`."""
    if as_json and form not in (None, "json"):
        raise ConfigError(f"--json and --format {form}: give one of them")
    chosen = "json" if as_json else form or default_format(out)
    refuse_unknown([chosen], FORMATS, "format")
    return chosen


def _clip_names(folder: Path | None, template: str | None, video: Path) -> ExcerptNames | None:
    """The names of clips, if clips are wanted. Refuses a folder that cannot take them."""
    if folder is None:
        if template is not None:
            raise ConfigError("--clip-name: say where with --clips DIR")
        return None
    from mttsg_core.inference.excerpts import ExcerptNames

    if video.is_dir() and _lies_in(video, folder):
        raise ConfigError(f"{folder}: clips would lie among the videos; name a folder of their own")
    folder.mkdir(parents=True, exist_ok=True)  # now, not after all the work
    return ExcerptNames(**options.given(template=template))


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _without(videos: list[VideoFile], clips: Path, reporter: Reporter) -> list[VideoFile]:
    """The videos that do not lie among the clips, which an earlier run may have cut."""
    kept = [one for one in videos if not _lies_in(one.path.parent, clips)]
    if len(kept) < len(videos):
        left_out = count(len(videos) - len(kept), "video")
        reporter.say(f"{clips}: {left_out} there not searched, it is the folder of clips")
    return kept


def _read_questions(queries: list[str], file: Path | None, reporter: Reporter) -> list[Query]:
    from mttsg_core.data.queries import Query, parse_queries
    from mttsg_core.utils.json_lines import read_bytes

    if any(not query.strip() for query in queries):
        raise ConfigError("a sentence must have at least one word")
    questions = [Query(query.strip()) for query in queries]
    if file is not None:
        content = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
        more, problems = parse_queries(file, content)
        options.report_problems(reporter, problems)
        questions += more
    if not questions:
        raise ConfigError("no sentence: give one after the video, or a file of them with --queries")
    return questions
