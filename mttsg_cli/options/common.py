"""Arguments and options of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mttsg_cli.options.makers import rate
from mttsg_cli.settings_file import load_config

# --- arguments ------------------------------------------------------------------------------------------------------

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Data folder.")]
TrainingData = Annotated[
    Path, typer.Argument(metavar="DATA", help="Data folder: train.jsonl, and videos/ or features/.")
]
DataOrFile = Annotated[Path, typer.Argument(metavar="DATA", help="Data folder, or a single annotation file.")]
Videos = Annotated[
    list[str], typer.Argument(metavar="PATH...", help='Video files, folders to search for videos, patterns as "*.mp4".')
]
VideosOrIndex = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Video files, folders to search for videos; or the folder of an index."),
]
VideosAndQueries = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO... [QUERY...]",
        help='Video files, folders to search for videos, patterns such as "*.mp4"; then sentences, each in quotes.',
    ),
]

# --- options of several commands ------------------------------------------------------------------------------------

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        is_eager=True,
        callback=load_config,
        metavar="FILE.toml|recipe:NAME",
        help="Read options from a file; their names are the same there. A recipe is such a file for a published data "
        "set, as recipe:qvhighlights.",
    ),
]
Model = Annotated[
    list[Path] | None,  # several are an error, see `only`
    typer.Option(
        "--model",
        "-m",
        metavar="DIR|N|last|NAME",
        help="Model: its folder, the number of a run, last (the newest run), or user/name on the Hugging Face Hub. "
        "Default: the newest run that was trained on videos below the same folder.",
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="Video encoder: clip, siglip2, dinov2, ... or another pretrained model (a folder, or its name on the "
        "Hugging Face Hub), or classic (built in). Default: clip if it is here or can be had, else classic.",
    ),
]
ModelEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="Folder of the model's pretrained encoder, if it has not been used on this computer yet. An encoder other "
        "than the model's is refused.",
    ),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder",
        metavar="ID",
        help="Text encoder: clip (the text tower of the video encoder), minilm or another pretrained text model, "
        "glove:FILE, or hashed (built in). Default: clip if there is such a tower, else a glove*.txt beside "
        "train.jsonl, else minilm if it is here or can be had, else hashed.",
    ),
]
ModelTextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder",
        metavar="ID",
        help="Make sure that this is the model's text encoder; a model with another one is refused.",
    ),
]
Fps = Annotated[float | None, rate("Features per second of video. Default: 2.")]
ModelFps = Annotated[
    float | None, rate("Make sure that the model has so many features per second; another one is refused.")
]
Reader = Annotated[
    str | None, typer.Option("--reader", metavar="R", help="Video decoder: auto, pyav or decord. Default: auto.")
]
Joint = Annotated[
    bool | None,
    typer.Option(
        "--joint/--no-joint",
        help="Features and the text encoder's sentence embeddings share one space. Default: found out in training.",
    ),
]
ZeroShot = Annotated[
    bool,
    typer.Option(
        "--zero-shot",
        help="Answer without training: in the space of a pretrained encoder, or of --text-encoder and the features.",
    ),
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        metavar="[NAME=]DIR",
        help="External features: a folder with one file per video, or an HDF5 file. Repeated: streams that are read "
        "together, as in --features clip=DIR --features slowfast=DIR.",
    ),
]
FeaturesOf = Annotated[
    str | None,
    typer.Option(
        "--features-of",
        metavar="ID",
        help="Encoder that made the external features, so that the model can be asked about videos without them.",
    ),
]
Bins = Annotated[
    int | None,
    typer.Option(
        "--bins",
        min=1,
        metavar="N",
        help="With --features-of: every video has features of N equal parts. Default: they are at a rate, --fps.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration", min=0.001, metavar="S", help="Seconds of the video, if only its external features are at hand."
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="D", help="Where networks run: auto, cpu, cuda, cuda:N or mps.")
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="P",
        help="What a pretrained encoder of videos computes in: auto (the fastest), float32 or bfloat16.",
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Never use the network; pretrained models must be on this computer already."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", envvar="MTTSG_CACHE", help="Folder of cached features. Default: your cache folder."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="N", help="Number of videos to read at a time. Default: one per core."),
]
UnusedSeed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", hidden=True, help="Has no effect: nothing in this command is random."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace existing outputs. Without it they are kept, and the same command does the rest."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print every file and every bad row.")]
