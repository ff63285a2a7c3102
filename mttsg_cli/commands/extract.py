"""`mttsg extract`."""

from __future__ import annotations

import typer

from mttsg_cli import options
from mttsg_cli.console import ALL_DONE, SOME_FAILED, UNUSABLE, Reporter, exit_codes
from mttsg_cli.display import EventDisplay
from mttsg_cli.inputs import find_named
from mttsg_cli.writers import print_json
from mttsg_core.utils.text import count


def extract(
    paths: options.Videos,
    out: options.FeaturesOut = None,
    encoder: options.Encoder = None,
    fps: options.Fps = None,
    reader: options.Reader = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    cache: options.Cache = None,
    seed: options.UnusedSeed = None,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Extract the features of videos, once; videos whose features exist are skipped.

    Examples:

        mttsg extract videos/

        mttsg extract videos/ --out data/features --workers 4

        mttsg extract videos/ --encoder siglip2
    """
    with exit_codes():
        named = find_named(paths)
        from mttsg_core.workflows import extract as workflow
        from mttsg_core.workflows.options import ExtractOptions, FeatureOptions

        reporter = Reporter(quiet=quiet, verbose=verbose)
        with EventDisplay(reporter) as display:
            report = workflow.extract(
                named,
                out,
                features=FeatureOptions(encoder=encoder, fps=fps, reader=reader),
                options=ExtractOptions(device, cache, offline, workers, precision, overwrite=overwrite),
                on_event=display.show,
            )
        reporter.say(f"features of {report.done} of {count(report.videos, 'video')} are in {report.folder}")
        if as_json:
            print_json(report.as_dict())
        if report.failures:
            raise typer.Exit(SOME_FAILED if report.done else UNUSABLE)
        raise typer.Exit(ALL_DONE)
