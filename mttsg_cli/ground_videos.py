"""The videos that `mttsg ground` asks: files and those in folders, or those of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.ground_outputs import is_inside
from mttsg_cli.inputs import Inputs
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.utils.text import count
from mttsg_core.video.discovery import VideoFile, find_videos
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions

if TYPE_CHECKING:
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.inference.ranking import Selection
    from mttsg_core.workflows.library import VideoLibrary
    from mttsg_core.workflows.narrowing import Narrowing


@dataclass(frozen=True)
class OpenIndex:
    """An index that is asked. Attributes: its videos, and the model in one line for pages."""

    library: VideoLibrary
    model: str

    def videos(self, below: Path | None, since: datetime | None) -> list[VideoFile]:
        """Return the videos that pass the filters. Raises DataError if there are none."""
        from mttsg_core.workflows.library import choose_videos

        chosen = choose_videos(self.library.videos, below, since)
        if not chosen:
            raise DataError("no video of the index passes --below and --since")
        return [VideoFile(video.path, Path(video.name), from_folder=True) for video in chosen]


def open_index(
    folder: Path,
    model: Path | None,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
    *,
    zero_shot: bool = False,
    memory: int | None = None,
) -> OpenIndex:
    """Open an index with the model that it was made by, or with another one of its models; `memory` as `VideoLibrary`.

    Raises:
        DataError: if the index holds nothing of the model.
        ConfigError: if LanceDB is not installed, or external features are given.
        ModelError: if the model cannot be read.
    """
    from mttsg_cli.model_loading import load_for_index
    from mttsg_core.search.index_folder import IndexFolder
    from mttsg_core.workflows.library import VideoLibrary

    if features.features is not None:
        raise ConfigError("--features: the features of an index are those of its videos")
    with EventDisplay(reporter):
        grounder, choice = load_for_index(
            IndexFolder.read(folder), model, features, runtime, reporter, zero_shot=zero_shot
        )
    library = VideoLibrary([folder], grounder, memory=memory)
    if not library.videos:
        again = f" --model {choice.folder}" if choice.folder is not None else ""
        raise DataError(f"{folder}: holds no videos of this model; add them with: mttsg index {folder}{again}")
    return OpenIndex(library, choice.about)


def choose_narrowing(selection: Selection | None, grounder: Grounder, index: OpenIndex | None) -> Narrowing | None:
    """Return what chooses the videos of each sentence; None if all answers of all videos are wanted."""
    if selection is None or selection.top is None:
        return None
    from mttsg_core.workflows.narrowing import FolderNarrowing, IndexNarrowing

    return FolderNarrowing(grounder, selection.top) if index is None else IndexNarrowing(index.library, selection.top)


def find_searched(inputs: Inputs, reporter: Reporter, *, must_exist: bool) -> list[VideoFile]:
    """Return the videos that are named or in folders; with external features, a video file itself need not exist."""
    if not must_exist and not inputs.are_searched:
        return [VideoFile(path, Path(path.name)) for path in inputs.videos]
    return find_videos(inputs.videos, lambda file: reporter.detail(str(file)))


def filtered(videos: Sequence[VideoFile], below: Path | None, since: datetime | None) -> list[VideoFile]:
    """Return the videos in a folder, or below it, that were changed at some time or later.

    Raises:
        DataError: if there are none.
    """
    folder = None if below is None else below.resolve()
    chosen = [
        video
        for video in videos
        if (folder is None or video.path.resolve().is_relative_to(folder))
        and (since is None or _changed(video.path) >= since.timestamp())
    ]
    if not chosen:
        raise DataError("no video passes --below and --since")
    return chosen


def without_excerpts(videos: list[VideoFile], folder: Path, reporter: Reporter) -> list[VideoFile]:
    """Return the videos outside the folder of excerpts, except those named: excerpts of earlier versions are there."""
    searched = [video for video in videos if not video.from_folder or not is_inside(video.path.parent, folder)]
    if len(searched) < len(videos):
        skipped = count(len(videos) - len(searched), "video")
        reporter.say(f"{folder}: {skipped} not searched, this is the folder of --clips")
    return searched


def _changed(path: Path) -> float:
    """Return when a file was changed, in seconds since the epoch; 0 if it cannot be read."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
