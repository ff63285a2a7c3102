"""One run of `mttsg serve`: from paths and options to a page that answers until it is stopped."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from mttsg_cli.display import EventDisplay
from mttsg_cli.model_loading import load_chosen, load_for_index
from mttsg_cli.option_values import gigabytes
from mttsg_core.errors import ConfigError
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions, TrainOptions
from mttsg_core.workflows.outputs import require_folders, require_writable


@dataclass(frozen=True)
class PageOptions:
    """The options of the command that are about the page."""

    data: Path | None
    clips: Path | None
    port: int | None
    host: str
    need_token: bool
    open_page: bool
    memory: float | None = None


def run_page(
    paths: Sequence[Path],
    model: Path | None,
    page: PageOptions,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    settings: Mapping[str, Mapping[str, Any]],
    display: EventDisplay,
) -> None:
    """Serve the page until a signal ends the program.

    Args:
        paths: video files, and folders to search for videos; or the folder of an index alone.
        model: as the user named it; None chooses.
        page: where the page is, and where it writes.
        features: of the videos.
        runtime: device, cache and network access.
        settings: the tables of settings for trainings, by the arguments of `train`.
        display: shows what is read.

    Raises:
        MttsgError: if the page cannot be served, or no model can be used.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError("the page needs two packages: pip install 'mttsg[serve]'") from error
    from mttsg_core.search.index_folder import IndexFolder, is_index
    from mttsg_core.server.app import Workplace, create_app
    from mttsg_core.server.corrections import Corrections
    from mttsg_core.server.running import address_of, open_socket, run
    from mttsg_core.server.searching import LoadedModel, Searcher
    from mttsg_core.server.security import Access
    from mttsg_core.server.training_job import TrainingRequest
    from mttsg_core.workflows.library import VideoLibrary

    require_folders(runtime.cache, page.data, page.clips)
    for folder in (page.data, page.clips):
        if folder is not None:
            require_writable(folder)
    index = IndexFolder.read(paths[0]) if len(paths) == 1 and is_index(paths[0]) else None
    corrections = Corrections.for_videos(paths if index is None else index.sources, page.data)
    with closing(open_socket(page.host, page.port)) as listener:
        if index is None:
            grounder, choice = load_chosen(model, paths, features, runtime, display.reporter)
        else:
            grounder, choice = load_for_index(index, model, features, runtime, display.reporter)
        library = VideoLibrary(
            paths, grounder, workers=runtime.workers, model=choice.folder, memory=gigabytes(page.memory)
        )
        searcher = Searcher(library, LoadedModel(grounder, choice.about, choice.folder), runtime, display.show)
        training = TrainingRequest(
            corrections.folder,
            features,
            TrainOptions(**vars(runtime)),
            **settings,
        )
        access = Access.for_address(page.host, listener.getsockname()[1], need_token=page.need_token)
        title = ", ".join(path.resolve().name or str(path) for path in paths)
        app = create_app(Workplace(searcher, corrections, training, page.clips, title), access)
        address = address_of(listener, page.host, access.token)
        display.reporter.say(f"serving {title}: {address} (Ctrl-C ends it)")
        searcher.start_reading()
        if page.open_page:
            Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        run(app, listener)
