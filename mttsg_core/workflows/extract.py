"""Videos to features: `extract` and `iter_extract`, and the extraction that the other workflows begin with."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mttsg_core.data.folder_defaults import defaults_of_videos
from mttsg_core.encoders.base import Settings
from mttsg_core.encoders.defaults import default_video_encoder
from mttsg_core.errors import ConfigError, DataError, VideoError
from mttsg_core.features import extraction
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    ExtractionProgress,
    ExtractionSettings,
)
from mttsg_core.features.store import FeatureCache, video_of
from mttsg_core.utils.atomic import collect_parts
from mttsg_core.utils.files import is_file
from mttsg_core.utils.locks import share_folder
from mttsg_core.video.discovery import VideoFile, find_videos
from mttsg_core.workflows.events import InputFailed, ProgressStarted
from mttsg_core.workflows.options import AnyPath, ExtractOptions, FeatureOptions
from mttsg_core.workflows.outputs import require_folders, require_writable
from mttsg_core.workflows.steps import OnEvent, iterate, run

if TYPE_CHECKING:
    from mttsg_core.features.cluster import ClusterOptions

_JobEvent: TypeAlias = ProgressStarted | Extracted | ExtractionProgress | ExtractionFailed | ExtractionPassedOver
ExtractEvent: TypeAlias = _JobEvent | InputFailed
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ExtractReport:
    """Outcome of `extract`.

    Attributes:
        videos: number of videos.
        folder: where their features are.
        failures: one line for each video that could not be used.
    """

    videos: int
    folder: Path
    failures: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """Number of videos whose features exist now."""
        return self.videos - len(self.failures)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"videos": self.videos, "done": self.done, "failed": len(self.failures), "folder": str(self.folder)}


def extract(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath | None = None,
    *,
    features: FeatureOptions | None = None,
    options: ExtractOptions | None = None,
    on_event: OnEvent[ExtractEvent] | None = None,
) -> ExtractReport:
    """Extract the features of videos. Existing features are kept.

    Args:
        paths: video files, and folders that are searched for videos.
        out: folder to write features to; None for the cache.
        features: encoder, clip rate and reader.
        options: see there.
        on_event: called with each event as it happens.

    Raises:
        DataError: if there is no video.
        ConfigError: if an option cannot be used, or the folder cannot be written, before any video is read.
        MttsgError: if a file cannot be written.
    """
    return run(_extract(paths, out, features, options), on_event)


def iter_extract(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath | None = None,
    *,
    features: FeatureOptions | None = None,
    options: ExtractOptions | None = None,
) -> Iterator[ExtractEvent | ExtractReport]:
    """Yield the events of `extract` as they happen, then its report. Arguments and errors are those of `extract`."""
    return iterate(_extract(paths, out, features, options))


def _extract(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath | None,
    features: FeatureOptions | None,
    options: ExtractOptions | None,
) -> Generator[ExtractEvent, None, ExtractReport]:
    features, options = features or FeatureOptions(), options or ExtractOptions()
    if features.features is not None or features.text_encoder is not None:
        raise ConfigError("an extraction takes neither external features nor a text encoder")
    require_folders(out, options.cache)
    named = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    videos = find_videos(named)
    settings = _settings(named, features, options)
    fingerprint = _here(settings, options.cluster).fingerprint()
    cache = options.feature_cache()
    folder = cache.folder if out is None else Path(out)
    if out is None:
        jobs, failures = _jobs_for_cache(cache, fingerprint, videos)
    else:
        jobs, failures = _jobs_for_folder(folder, videos, cache.partial_folder)
    yield from map(InputFailed, failures)
    if options.overwrite or not all(is_file(job.target) for job in jobs):
        require_writable(folder)
    passed_over = 0
    extraction = extract_jobs(
        jobs, settings, workers=options.workers, overwrite=options.overwrite, cluster=options.cluster
    )
    with closing(extraction):
        while True:
            try:
                event = next(extraction)
            except StopIteration as end:
                failures += end.value
                break
            passed_over += isinstance(event, ExtractionPassedOver)
            yield event
    if passed_over == len(videos):
        raise DataError(f"no video files in {', '.join(str(path) for path in named)}")
    return ExtractReport(len(videos) - passed_over, folder, tuple(failures))


def _jobs_for_cache(
    cache: FeatureCache, fingerprint: Settings, videos: Sequence[VideoFile]
) -> tuple[list[ExtractionJob], list[str]]:
    """Return the jobs of videos whose features go to the cache, and why others cannot be read."""
    jobs, failures = [], []
    for video in videos:
        try:
            target = cache.entry(video.path, fingerprint)
        except VideoError as error:
            failures.append(str(error))
        else:
            jobs.append(ExtractionJob(video.path, target, video.from_folder, target.stem, cache.partial_folder))
    return jobs, failures


def _jobs_for_folder(folder: Path, videos: Sequence[VideoFile], partial: Path) -> tuple[list[ExtractionJob], list[str]]:
    """Return the jobs of videos whose features go to a folder, and why others cannot be in the same one."""
    targets = _targets_in(folder, videos)
    jobs = [
        ExtractionJob(video.path, targets[video], video.from_folder, partial=partial)
        for video in videos
        if video in targets
    ]
    owners = {os.path.normcase(video.name): video.path for video in targets}
    failures = [
        f"{video.path}: its features would replace those of {owners[os.path.normcase(video.name)]}; extract it to "
        "another folder"
        for video in videos
        if video not in targets
    ]
    return jobs, failures


def _settings(paths: Sequence[Path], features: FeatureOptions, options: ExtractOptions) -> ExtractionSettings:
    """Return what is given, over the defaults of the data folders that the videos are in, over those of the program."""
    values: dict[str, Any] = dict(features.extraction)
    if "encoder" not in values:
        values = {**defaults_of_videos(paths), **values}
    if "encoder" not in values:
        values["encoder"] = default_video_encoder(offline=options.offline)
    return ExtractionSettings(**values, device=options.device, offline=options.offline, precision=options.precision)


def _here(settings: ExtractionSettings, cluster: ClusterOptions | None) -> ExtractionSettings:
    """Return the settings for this computer, which needs to know the encoder alone if a cluster extracts."""
    return settings if cluster is None else replace(settings, device="cpu")


def _on(cluster: ClusterOptions, settings: ExtractionSettings, workers: int | None) -> extraction.ExtractElsewhere:
    """Return what extracts on a cluster."""
    from mttsg_core.features.ray_cluster import extract_on_ray

    return partial(extract_on_ray, settings=settings, options=cluster, workers=workers)


def _targets_in(folder: Path, videos: Sequence[VideoFile]) -> dict[VideoFile, Path]:
    """Return the feature file of each video, named after it without its suffix; with it where names would be equal.

    Of videos that are equal in suffix as well, found in different folders, only the first has a feature file.
    """
    unique = list({os.path.normcase(video.name): video for video in reversed(videos)}.values())[::-1]
    with_suffix = {video for video in unique if _is_of_another(video, folder)}
    while True:
        targets = {video: video.output_path(folder, _SUFFIX, keep_suffix=video in with_suffix) for video in unique}
        uses = Counter(os.path.normcase(target) for target in targets.values())
        clashing = {video for video, target in targets.items() if uses[os.path.normcase(target)] > 1} - with_suffix
        if not clashing:
            return targets
        with_suffix |= clashing


def _is_of_another(video: VideoFile, folder: Path) -> bool:
    """Return whether an earlier extraction gave the short name to another video, and the long one perhaps to this."""
    if is_file(video.output_path(folder, _SUFFIX, keep_suffix=True)):
        return True
    target = video.output_path(folder, _SUFFIX)
    return is_file(target) and video_of(target) not in (None, video.path.name)


def extract_jobs(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
) -> Generator[_JobEvent, None, list[str]]:
    """Run extraction jobs, the largest files first so that none is left running alone at the end.

    Args:
        jobs: what to extract.
        settings: how.
        workers: number of videos to read at a time; None for one per core.
        overwrite: extract again where features already exist.
        cluster: reads the videos in place of this computer; then None workers are one for each of its CPUs.

    Returns:
        One line for each video that failed.

    Raises:
        ConfigError: if there is no such encoder, device or reader, or the cluster cannot be used.
    """
    yield ProgressStarted("extraction", len(jobs))
    ordered = sorted(jobs, key=lambda job: -job.size)
    failures: list[str] = []
    events = extraction.extract(
        ordered,
        _here(settings, cluster),
        workers=workers or extraction.default_workers(),
        overwrite=overwrite,
        elsewhere=None if cluster is None else _on(cluster, settings, workers),
    )
    complete = False
    try:
        with ExitStack() as stack:
            for cache in {job.partial.parent for job in jobs if job.partial is not None}:
                stack.enter_context(share_folder(cache))  # nothing is deleted from it meanwhile
            stack.enter_context(closing(events))  # type: ignore[type-var]
            for event in events:
                if isinstance(event, ExtractionFailed):
                    failures.append(f"{event.job.video}: {event.reason}")
                yield event
        complete = not failures
    finally:
        if not complete:
            for folder in {job.target.parent for job in jobs}:
                collect_parts(folder)  # of workers that crashed or were stopped
    return failures
