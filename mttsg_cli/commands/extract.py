"""`mttsg extract`, and the extraction that the other commands begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mttsg_cli import options
from mttsg_cli.console import ALL_DONE, SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.writers import need_folders, print_json
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.features.extraction import ExtractionEvent, ExtractionFailed, ExtractionSettings, Job


def extract(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Videos, and folders to look into.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write features there instead of the cache.")
    ] = None,
    encoder: options.Encoder = None,
    fps: options.Fps = None,
    reader: options.Reader = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    cache: options.Cache = None,
    seed: options.NoSeed = None,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Turn videos into features, once; finished files are skipped.

    Examples:

        mttsg extract videos/

        mttsg extract videos/ --out data/features --workers 4

        mttsg extract videos/ --encoder google/siglip2-base-patch16-224
    """
    with exit_codes():
        from mttsg_core.features.extraction import ExtractionSettings, Job
        from mttsg_core.features.store import FeatureCache
        from mttsg_core.utils.paths import default_cache
        from mttsg_core.video.discovery import find_videos

        reporter = Reporter(quiet=quiet, verbose=verbose)
        need_folders(out, cache)
        settings = ExtractionSettings(
            **options.given(encoder=encoder, fps=fps, reader=reader), device=device, offline=offline
        )
        fingerprint = settings.fingerprint()
        store = FeatureCache(cache or default_cache())
        jobs: list[Job] = []
        failures = 0
        videos = find_videos(paths)
        owners: dict[Path, Path] = {}  # of files in --out
        for video in videos:
            try:
                target = store.path(video.path, fingerprint) if out is None else video.named_below(out, ".safetensors")
            except OSError as error:
                reporter.error(f"{video.path}: {(error.strerror or str(error)).lower()}")
                failures += 1
                continue
            if out is not None and owners.setdefault(target, video.path) != video.path:
                reporter.error(f"{video.path}: its features would take the place of those of {owners[target]}")
                failures += 1
                continue
            jobs.append(Job(video.path, target))
        failures += len(run_extraction(jobs, settings, reporter, workers=workers, overwrite=overwrite))
        done = len(videos) - failures
        reporter.say(f"features of {done} of {count(len(videos), 'video')} lie in {out or store.folder}")
        if as_json:
            print_json({"videos": len(videos), "done": done, "failed": failures, "folder": str(out or store.folder)})
        if failures:
            raise typer.Exit(SOME_FAILED if done else UNUSABLE)
        raise typer.Exit(ALL_DONE)


def extracting(
    jobs: Sequence[Job],
    settings: ExtractionSettings,
    reporter: Reporter,
    *,
    workers: int | None = None,
    overwrite: bool = False,
) -> Iterator[ExtractionEvent]:
    """The events of an extraction, under a progress bar; each failure is an error line."""
    from mttsg_core.features.extraction import ExtractionFailed, default_workers, extract

    video_seconds = 0.0
    with reporter.progress(len(jobs), "Reading videos") as bar:
        for event in extract(jobs, settings, workers=workers or default_workers(), overwrite=overwrite):
            if isinstance(event, ExtractionFailed):
                reporter.error(f"{event.job.video}: {event.reason}")
            elif not event.cached:
                video_seconds += event.video_seconds
                clips = count(event.clips, "clip")
                reporter.detail(f"{event.job.video}: {clips} of {event.video_seconds:.1f} s")
                if event.lost_clips:
                    reporter.warn(f"{event.job.video}: {event.lost_clips} of {clips} could not be decoded")
            bar.advance(rate=f"{video_seconds / bar.elapsed:.0f}x real time" if bar.elapsed > 0.5 else "")
            yield event


def run_extraction(
    jobs: Sequence[Job],
    settings: ExtractionSettings,
    reporter: Reporter,
    *,
    workers: int | None = None,
    overwrite: bool = False,
) -> list[ExtractionFailed]:
    """Extract all, the longest first so that none trails alone. Returns the failures."""
    from mttsg_core.features.extraction import ExtractionFailed

    ordered = sorted(jobs, key=lambda job: -job.size)
    events = extracting(ordered, settings, reporter, workers=workers, overwrite=overwrite)
    return [event for event in events if isinstance(event, ExtractionFailed)]
