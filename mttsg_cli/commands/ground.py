"""`mttsg ground`."""

from __future__ import annotations

from mttsg_cli import options
from mttsg_cli.console import Reporter, exit_codes


def ground(
    video: options.Video,
    queries: options.Queries = None,
    queries_file: options.QueriesFile = None,
    model: options.Model = None,
    top: options.Top = None,
    form: options.Format = None,
    as_json: options.JsonFormat = False,
    out: options.MomentsOut = None,
    threshold: options.Threshold = 0.0,
    clips: options.ExcerptFolder = None,
    clip_name: options.ExcerptName = None,
    html: options.MomentsPage = None,
    features: options.Features = None,
    encoder: options.GroundEncoder = None,
    text_encoder: options.ModelTextEncoder = None,
    fps: options.GroundFps = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    seed: options.UnusedSeed = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the moments of a video, or of every video in a folder, that sentences describe.

    Existing files are kept, unless inputs failed when they were written: the same command again does the rest.

    Before a model is trained, a pretrained one such as CLIP, SigLIP or X-CLIP compares the frames with the sentence.

    Examples:

        mttsg ground video.mp4 "person opens door"

        mttsg ground videos/ "person opens door" "person sits down" --top 3 --format csv

        mttsg ground videos/ --queries sentences.txt --format jsonl --out moments.jsonl

        mttsg ground video.mp4 "person opens door" --encoder siglip2

        mttsg ground videos/ "person opens door" --top 10 --clips clips/ --html moments.html
    """
    with exit_codes():
        from mttsg_cli.ground_outputs import OutputOptions
        from mttsg_cli.ground_session import Request, run_session
        from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions

        run_session(
            Request(video, queries or [], queries_file, top, threshold),
            OutputOptions(form, as_json, out, html, clips, clip_name, overwrite),
            options.only(model, "--model"),
            FeatureOptions(encoder, text_encoder, fps, features=features),
            RuntimeOptions(device, cache, offline, workers),
            Reporter(quiet=quiet, verbose=verbose),
        )
