"""`mttsg ground`."""

from __future__ import annotations

from mttsg_cli import option_values, options
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.inputs import read_inputs, require_given


def ground(
    words: options.VideosAndQueries,
    queries_file: options.QueriesFile = None,
    model: options.Model = None,
    top: options.Top = None,
    show_all: options.ShowAll = False,
    form: options.Format = None,
    as_json: options.JsonFormat = False,
    out: options.MomentsOut = None,
    below: options.Below = None,
    since: options.Since = None,
    exhaustive: options.Exhaustive = False,
    threshold: options.Threshold = None,
    clips: options.ExcerptFolder = None,
    clip_name: options.ExcerptName = None,
    pad: options.Pad = None,
    join: options.Film = None,
    html: options.MomentsPage = None,
    open_page: options.OpenMoments = False,
    play: options.Play = False,
    joint: options.Joint = None,
    features: options.Features = None,
    zero_shot: options.ZeroShot = False,
    duration: options.Duration = None,
    encoder: options.GroundEncoder = None,
    text_encoder: options.ModelTextEncoder = None,
    fps: options.GroundFps = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    seed: options.UnusedSeed = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
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
        )
