"""`mttsg search`."""

from __future__ import annotations

from mttsg_cli import option_values
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.inputs import find_named
from mttsg_cli.options import common, search_options


def search(
    paths: search_options.IndexSources,
    model: common.Model = None,
    top: search_options.SearchTop = None,
    clips: search_options.CutFolder = None,
    encoder: search_options.GroundEncoder = None,
    text_encoder: common.ModelTextEncoder = None,
    zero_shot: common.ZeroShot = False,
    fps: search_options.GroundFps = None,
    device: common.Device = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    workers: common.Workers = None,
    memory: search_options.Memory = None,
    config: common.Config = None,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
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
            SearchOptions(top, clips, memory),
            FeatureOptions(encoder, text_encoder, fps),
            RuntimeOptions(device, cache, offline, workers),
            Reporter(quiet=quiet, verbose=verbose),
            zero_shot=zero_shot,
        )
