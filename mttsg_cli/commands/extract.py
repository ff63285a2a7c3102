"""`mttsg extract`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values
from mttsg_cli.console import ALL_DONE, SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.display import EventDisplay
from mttsg_cli.inputs import find_named
from mttsg_cli.options import common, computer_options, training_options
from mttsg_cli.writers import print_json
from mttsg_core.utils.text import count


def extract(
    paths: common.Videos,
    out: training_options.FeaturesOut = None,
    encoder: common.Encoder = None,
    fps: common.Fps = None,
    reader: common.Reader = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    workers: common.Workers = None,
    overwrite: common.Overwrite = False,
    cache: common.Cache = None,
    ray: computer_options.Ray = None,
    gpus_per_worker: computer_options.GpusPerWorker = None,
    seed: common.UnusedSeed = None,
    config: common.Config = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Extract the features of videos, once; videos whose features exist are skipped.

    Examples:

        mttsg extract videos/

        mttsg extract videos/ --out data/features --workers 4

        mttsg extract videos/ --encoder siglip2

        mttsg extract /shared/videos --ray 10.0.0.1:6379
    """
    with exit_codes():
        named = find_named(paths)
        from mttsg_core.workflows import extract as workflow
        from mttsg_core.workflows.options import ExtractOptions, FeatureOptions

        cluster = option_values.cluster_of(ray, gpus_per_worker, device)
        reporter = Reporter(quiet=quiet, verbose=verbose)
        with EventDisplay(reporter) as display:
            report = workflow.extract(
                named,
                out,
                features=FeatureOptions(encoder=encoder, fps=fps, reader=reader),
                options=ExtractOptions(
                    device, cache, offline, workers, precision, overwrite=overwrite, cluster=cluster
                ),
                on_event=display.show,
            )
        reporter.say(f"features of {report.done} of {count(report.videos, 'video')} are in {report.folder}")
        if as_json:
            print_json(report.as_dict())
        if report.failures:
            raise typer.Exit(SOME_FAILED if report.done else UNUSABLE)
        raise typer.Exit(ALL_DONE)
