"""`mttsg ground`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values
from mttsg_cli.command_line import command_words
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.inputs import read_inputs, require_given
from mttsg_cli.options import common, search_options


def ground(
    context: typer.Context,
    words: common.VideosAndQueries,
    queries_file: search_options.QueriesFile = None,
    model: common.Model = None,
    top: search_options.Top = None,
    show_all: search_options.ShowAll = False,
    form: search_options.Format = None,
    as_json: search_options.JsonFormat = False,
    out: search_options.MomentsOut = None,
    below: search_options.Below = None,
    since: search_options.Since = None,
    exhaustive: search_options.Exhaustive = False,
    threshold: search_options.Threshold = None,
    clips: search_options.ExcerptFolder = None,
    clip_name: search_options.ExcerptName = None,
    pad: search_options.Pad = None,
    join: search_options.Film = None,
    html: search_options.MomentsPage = None,
    open_page: search_options.OpenMoments = False,
    play: search_options.Play = False,
    joint: common.Joint = None,
    features: common.Features = None,
    zero_shot: common.ZeroShot = False,
    duration: common.Duration = None,
    encoder: search_options.GroundEncoder = None,
    text_encoder: common.ModelTextEncoder = None,
    fps: search_options.GroundFps = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    workers: common.Workers = None,
    seed: common.UnusedSeed = None,
    overwrite: common.Overwrite = False,
    config: common.Config = None,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Find the moments of videos that sentences describe.

    Videos come first: files, folders, patterns, or an index. Sentences follow, in quotes.
    A word that exists is a video; where both could be meant, -- divides them.
    Several videos are answered best first.

    Examples:

        mttsg ground video.mp4 "person opens door"

        mttsg ground *.mp4 videos/ "person opens door" "person sits down"

        mttsg ground videos/ --queries sentences.txt --all --out moments.jsonl

        mttsg ground videos/ "person opens door" --top 10 --clips excerpts/

        mttsg ground videos/ "person opens door" --top 10 --join doors.mp4 --pad 1

        mttsg ground videos/ "person opens door" --html moments.html --open

        mttsg ground videos.index "person opens door" --top 10 --since 2026-01-31

        mttsg ground video.mp4 "person opens door" --encoder siglip2

        mttsg ground video.mp4 -- "-1 on the display"
    """
    with exit_codes():
        inputs = read_inputs(words, must_exist=features is None)
        require_given(queries=queries_file, features=features)
        from mttsg_cli.ground_outputs import OutputOptions
        from mttsg_cli.ground_session import Request, run_session
        from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions

        run_session(
            Request(inputs, queries_file, top, show_all, threshold, duration, zero_shot, exhaustive, below, since),
            OutputOptions(form, as_json, out, html, open_page, play, clips, clip_name, pad, join, overwrite),
            option_values.only(model, "--model"),
            FeatureOptions(encoder, text_encoder, fps, features=features, joint=joint),
            RuntimeOptions(device, cache, offline, workers, precision),
            Reporter(quiet=quiet, verbose=verbose),
            command_words(context),
        )
