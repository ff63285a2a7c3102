"""`mttsg search`."""

from __future__ import annotations

from mttsg_cli import option_values, options
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.inputs import find_named


def search(
    paths: options.IndexSources,
    model: options.Model = None,
    top: options.SearchTop = None,
    clips: options.CutFolder = None,
    encoder: options.GroundEncoder = None,
    text_encoder: options.ModelTextEncoder = None,
    zero_shot: options.ZeroShot = False,
    fps: options.GroundFps = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask videos one sentence after the other; play and cut out what is found.

    The videos and the model are read once, so that each answer is quick.
    From a pipe, each line is a sentence, and the answers are rows (tsv).

    Examples:

        mttsg search videos/

        mttsg search *.mp4 holidays/ --top 10 --clips excerpts/

        mttsg search videos.index

        mttsg search videos/ < sentences.txt > moments.tsv
    """
    with exit_codes():
        found = find_named(paths)
        from mttsg_cli.search_session import SearchOptions, run_search
        from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions

        run_search(
            found,
            option_values.only(model, "--model"),
            SearchOptions(top, clips),
            FeatureOptions(encoder, text_encoder, fps),
            RuntimeOptions(device, cache, offline, workers),
            Reporter(quiet=quiet, verbose=verbose),
            zero_shot=zero_shot,
        )
