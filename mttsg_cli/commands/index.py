"""`mttsg index`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mttsg_cli import option_values
from mttsg_cli.console import ALL_DONE, SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.display import EventDisplay
from mttsg_cli.inputs import Inputs, find_named
from mttsg_cli.options import common, computer_options, search_options
from mttsg_cli.writers import print_json
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.features.cluster import ClusterOptions
    from mttsg_core.workflows.index_videos import IndexReport
    from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions


def index(
    paths: search_options.IndexSources,
    folder: search_options.IndexOut = None,
    model: common.Model = None,
    encoder: search_options.GroundEncoder = None,
    fps: search_options.GroundFps = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    workers: common.Workers = None,
    cache: common.Cache = None,
    ray: computer_options.Ray = None,
    gpus_per_worker: computer_options.GpusPerWorker = None,
    seed: common.UnusedSeed = None,
    config: common.Config = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Make an index of videos, or bring it up to date; then many videos are asked at once.

    Only new and changed videos are read. A second model has its vectors beside those of the first.

    Examples:

        mttsg index videos/

        mttsg index videos/ /mnt/more --index library

        mttsg index library

        mttsg ground library "person opens door" --top 10
    """
    with exit_codes():
        inputs = Inputs(tuple(find_named(paths)), ())
        from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions

        report = _run(
            inputs,
            inputs.index or folder or _default_folder(inputs.videos[0]),
            option_values.only(model, "--model"),
            FeatureOptions(encoder, fps=fps),
            RuntimeOptions(device, cache, offline, workers, precision),
            option_values.cluster_of(ray, gpus_per_worker, device),
            Reporter(quiet=quiet, verbose=verbose),
        )
        if as_json:
            print_json(report.as_dict())
        if report.failures:
            raise typer.Exit(SOME_FAILED if report.videos else UNUSABLE)
        raise typer.Exit(ALL_DONE)


def _run(
    inputs: Inputs,
    target: Path,
    model: Path | None,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    cluster: ClusterOptions | None,
    reporter: Reporter,
) -> IndexReport:
    """Bring the index in a folder up to date, and say what has changed."""
    from mttsg_cli.model_loading import load_for_index
    from mttsg_core.search.index_folder import IndexFolder
    from mttsg_core.workflows.library import VideoLibrary

    sources = () if inputs.index is not None else inputs.videos
    known = IndexFolder.prepare(target).extended(sources, None)
    with EventDisplay(reporter) as display:
        grounder, choice = load_for_index(known, model, features, runtime, reporter)
        library = VideoLibrary(
            sources, grounder, index=target, workers=runtime.workers, model=choice.folder, cluster=cluster
        )
        for event in library.iter_refresh():
            display.show(event)
    report = library.report
    if report is None:
        raise RuntimeError("a refresh without a report")
    changes = {"new or changed": report.added, "moved": report.moved, "removed": report.removed}
    told = ", ".join(f"{number} {name}" for name, number in changes.items() if number) or "nothing has changed"
    reporter.say(f"{count(report.videos, 'video')} in {target}: {told}")
    return report


def _default_folder(source: Path) -> Path:
    """Return the folder of an index of videos without a name of its own, in the working folder."""
    return Path(source.resolve().name or "videos").with_suffix(".index")
