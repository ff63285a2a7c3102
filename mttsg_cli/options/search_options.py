"""Options of the commands that answer: `ground`, `search`, `serve`, `index`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mttsg_cli.options.makers import file, folder, rate
from mttsg_cli.writers import FORMAT_NAMES

# --- options of `ground` --------------------------------------------------------------------------------------------

QueriesFile = Annotated[
    Path | None,
    file("--queries", "File of sentences: one per line, or jsonl; - for standard input.", "-Q"),
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        "-k",
        min=1,
        metavar="N",
        help="The N best moments for each sentence, of the video or of all videos together. Default: the best moment "
        "of one video; the best 5 videos of several, without those below 0.3.",
    ),
]
ShowAll = Annotated[
    bool,
    typer.Option("--all", help="Of several videos show every one's answer, however weak; with --top N its N best."),
]
Exhaustive = Annotated[
    bool,
    typer.Option("--exhaustive", help="Let the network answer in every video; else, of many, in the likeliest."),
]
Below = Annotated[Path | None, folder("--below", "Only videos in this folder, or below it.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        metavar="DATE",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help="Only videos whose files were changed on this date or later: 2026-01-31, or 2026-01-31T18:30.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="F",
        help=f"{', '.join(FORMAT_NAMES)}. Default: the suffix of --out, else table on a terminal and tsv otherwise.",
        autocompletion=lambda: list(FORMAT_NAMES),
    ),
]
JsonFormat = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
MomentsOut = Annotated[
    Path | None,
    file(
        "--out",
        "Write the moments to this file; - for standard output; for srt and vtt of several videos a folder.",
        "-o",
    ),
]
Threshold = Annotated[
    float | None, typer.Option("--threshold", min=0, max=1, metavar="S", help="Leave out moments with a lower score.")
]
ExcerptFolder = Annotated[
    Path | None,
    folder("--clips", "Cut each moment out as an mp4 file, into this folder. Later searches pass over it."),
]
ExcerptName = Annotated[
    str | None,
    typer.Option(
        "--clip-name",
        metavar="TEMPLATE",
        help="Names of the files in --clips, with the fields {video} {rank} {start} {end} {query} {score}. "
        "Default: {video}_{rank}_{start}-{end}; of several sentences {query}/{rank:02}_{video}_{start}.",
    ),
]
Pad = Annotated[
    float | None,
    typer.Option(
        "--pad",
        min=0,
        metavar="S",
        help="Seconds more on either side of each excerpt of --clips, --join and timelines. The rows stay exact.",
    ),
]
Film = Annotated[
    Path | None,
    file("--join", "Write one film of the moments to this mp4 file, in the order of the rows. Needs no --clips."),
]
MomentsPage = Annotated[Path | None, file("--html", "Write a page with a player and clickable moments to this file.")]
OpenMoments = Annotated[bool, typer.Option("--open", help="Open the page of --html in the browser.")]
Play = Annotated[
    bool, typer.Option("--play", help="Play the best moment: with mpv, vlc, ffplay or the system's player.")
]
GroundEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="Answer without training, with a pretrained model such as CLIP: a folder, or its name on the Hugging Face "
        "Hub. With --model: the folder of its encoder, if it has not been used on this computer yet.",
    ),
]
GroundFps = Annotated[
    float | None,
    rate(
        "Features per second of video, without a trained model. Default: 2. A model has its own; another value is "
        "refused."
    ),
]

# --- options of `serve` ---------------------------------------------------------------------------------------------

CorrectionsFolder = Annotated[
    Path | None,
    folder(
        "--data",
        "Data folder for what you say about answers. Default: one for these videos in your own data folder.",
    ),
]
ClipFolder = Annotated[Path | None, folder("--clips", "Folder for moments that you save. Default: beside their video.")]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        metavar="N",
        help="Port of the page; 0 takes any free one. Default: 8000, or the next free one.",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address to listen on. With any other than 127.0.0.1, the page asks for the token in the printed address.",
    ),
]
NeedToken = Annotated[
    bool, typer.Option("--token", help="Ask for a token on this computer, too, because others work on it.")
]
OpenPage = Annotated[bool, typer.Option("--open", help="Open the page in your browser.")]

Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        min=0,
        metavar="GB",
        help="Memory for encoded videos; what does not fit is encoded again for each sentence. Default: 2.",
    ),
]

# --- options of `search` --------------------------------------------------------------------------------------------

SearchTop = Annotated[
    int | None, typer.Option("--top", "-k", min=1, metavar="N", help="Moments that are shown at a time. Default: 5.")
]
CutFolder = Annotated[
    Path | None, folder("--clips", "Folder of the moments that :cut cuts out. Default: the current folder.")
]

# --- options of `index` ---------------------------------------------------------------------------------------------

IndexSources = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Video files, folders to search for videos, patterns; or an index."),
]
IndexOut = Annotated[
    Path | None,
    folder("--index", "Folder of the index. Default: named after the first PATH, here: videos.index."),
]
