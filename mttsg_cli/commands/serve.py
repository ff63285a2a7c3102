"""`mttsg serve`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.display import EventDisplay
from mttsg_cli.inputs import find_named
from mttsg_cli.options import common, search_options
from mttsg_cli.settings_file import config_tables


def serve(
    context: typer.Context,
    words: common.VideosOrIndex,
    model: common.Model = None,
    data: search_options.CorrectionsFolder = None,
    clips: search_options.ClipFolder = None,
    port: search_options.Port = None,
    host: search_options.Host = "127.0.0.1",
    token: search_options.NeedToken = False,
    open_page: search_options.OpenPage = False,
    encoder: search_options.GroundEncoder = None,
    fps: search_options.GroundFps = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    workers: common.Workers = None,
    memory: search_options.Memory = None,
    config: common.Config = None,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
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
            PageOptions(data, clips, port, host, token, open_page, memory),
            FeatureOptions(encoder, fps=fps),
            RuntimeOptions(device, cache, offline, workers, precision),
            {"config": tables["training"], "network": tables["network"], "loss": tables["loss"]},
            display,
        )
