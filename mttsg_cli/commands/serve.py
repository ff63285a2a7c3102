"""`mttsg serve`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values, options
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.display import EventDisplay
from mttsg_cli.inputs import find_named
from mttsg_cli.settings_file import config_tables


def serve(
    context: typer.Context,
    words: options.VideosOrIndex,
    model: options.Model = None,
    data: options.CorrectionsFolder = None,
    clips: options.ClipFolder = None,
    port: options.Port = None,
    host: options.Host = "127.0.0.1",
    token: options.NeedToken = False,
    open_page: options.OpenPage = False,
    encoder: options.GroundEncoder = None,
    fps: options.GroundFps = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search videos on a page of your own: watch, correct, and train on it.

    The page is on this computer only, at the address that is printed.

    Examples:

        mttsg serve videos/ --open

        mttsg serve data/videos --data data --clips excerpts/
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        paths = find_named(words)
        from mttsg_cli.serve_session import PageOptions, run_page
        from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions

        tables = config_tables(context)
        run_page(
            paths,
            option_values.only(model, "--model"),
            PageOptions(data, clips, port, host, token, open_page),
            FeatureOptions(encoder, fps=fps),
            RuntimeOptions(device, cache, offline, workers, precision),
            {"config": tables["training"], "network": tables["network"], "loss": tables["loss"]},
            display,
        )
