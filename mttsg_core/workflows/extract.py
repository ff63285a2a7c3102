"""Videos to features: `extract` and `iter_extract`, and the extraction that the other workflows begin with."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mttsg_core.errors import ConfigError
from mttsg_core.features import extraction
from mttsg_core.features.extraction import Extracted, ExtractionFailed, ExtractionJob, ExtractionSettings
from mttsg_core.video.discovery import find_videos
from mttsg_core.workflows.events import InputFailed, ProgressStarted
from mttsg_core.workflows.options import AnyPath, ExtractOptions, FeatureOptions
from mttsg_core.workflows.outputs import require_folders
from mttsg_core.workflows.steps import OnEvent, iterate, run

ExtractEvent: TypeAlias = ProgressStarted | Extracted | ExtractionFailed | InputFailed


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
        ConfigError: if an option cannot be used.
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
    settings = ExtractionSettings(**features.extraction, device=options.device, offline=options.offline)  # type: ignore[arg-type]
    fingerprint = settings.fingerprint()
    cache = options.feature_cache()
    videos = find_videos([Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)])
    failures: list[str] = []
    jobs: list[ExtractionJob] = []
    folder = cache.folder if out is None else Path(out)
    owners: dict[Path, Path] = {}  # video by feature file, where `out` names the files after the videos
    for video in videos:
        try:
            target = (
                cache.path(video.path, fingerprint) if out is None else video.output_path(Path(out), ".safetensors")
            )
        except OSError as error:
            failures.append(f"{video.path}: {(error.strerror or str(error)).lower()}")
            yield InputFailed(failures[-1])
            continue
        owner = video.path if out is None else owners.setdefault(target, video.path)
        if owner != video.path:
            failures.append(f"{video.path}: its features would replace those of {owner}")
            yield InputFailed(failures[-1])
            continue
        jobs.append(ExtractionJob(video.path, target))
    failures += yield from extract_jobs(jobs, settings, workers=options.workers, overwrite=options.overwrite)
    return ExtractReport(len(videos), folder, tuple(failures))


def extract_jobs(
    jobs: Sequence[ExtractionJob], settings: ExtractionSettings, *, workers: int | None = None, overwrite: bool = False
) -> Generator[ProgressStarted | Extracted | ExtractionFailed, None, list[str]]:
    """Run extraction jobs, the largest files first so that none is left running alone at the end.

    Args:
        jobs: what to extract.
        settings: how.
        workers: number of videos to read at a time; None for one per core.
        overwrite: extract again where features already exist.

    Returns:
        One line for each video that failed.

    Raises:
        ConfigError: if there is no such encoder, device or reader.
    """
    yield ProgressStarted("extraction", len(jobs))
    ordered = sorted(jobs, key=lambda job: -job.size)
    failures: list[str] = []
    for event in extraction.extract(
        ordered, settings, workers=workers or extraction.default_workers(), overwrite=overwrite
    ):
        if isinstance(event, ExtractionFailed):
            failures.append(f"{event.job.video}: {event.reason}")
        yield event
    return failures
