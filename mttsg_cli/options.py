"""The options of all commands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mttsg_cli.settings_file import load_config, load_training_settings
from mttsg_cli.table_formats import TABLE_FORMATS
from mttsg_cli.writers import FORMAT_NAMES
from mttsg_core.config import NETWORKS, NetworkConfig, TrainingConfig

_TRAINING = TrainingConfig()


def _check_seed(seed: int) -> int:
    """Return the seed. Raises typer.BadParameter if it is out of range; a range of typer's would fill the help."""
    if not 0 <= seed < 2**63:
        raise typer.BadParameter(f"{seed} is not between 0 and 2^63 - 1")
    return seed


def _fps(meaning: str) -> Any:
    return typer.Option("--fps", min=0.01, max=120, metavar="F", help=meaning)


def _folder(name: str, help_text: str, *short: str) -> Any:
    return typer.Option(name, *short, metavar="DIR", help=help_text)


def _file(name: str, help_text: str, *short: str) -> Any:
    return typer.Option(name, *short, metavar="FILE", help=help_text)


# --- arguments ----------------------------------------------------------------------------------------------------

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

# --- options of several commands ----------------------------------------------------------------------------------

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
Fps = Annotated[float | None, _fps("Features per second of video. Default: 2.")]
ModelFps = Annotated[
    float | None, _fps("Make sure that the model has so many features per second; another one is refused.")
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

# --- options of `extract` and `train` -----------------------------------------------------------------------------

FeaturesOut = Annotated[Path | None, _folder("--out", "Write features to this folder instead of the cache.", "-o")]
ModelOut = Annotated[Path | None, _folder("--out", "Model folder. Default: a new numbered run.", "-o")]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", min=1, metavar="N", help="Passes over the training videos. Default: depends on their number."
    ),
]
BatchVideos = Annotated[
    int | None,
    typer.Option("--batch-videos", min=1, metavar="N", help=f"Videos per step. Default: {_TRAINING.batch_videos}."),
]
QueriesPerVideo = Annotated[
    int | None,
    typer.Option(
        "--queries-per-video",
        min=1,
        metavar="N",
        help=f"Sentences of one video in a step, at most. Default: {_TRAINING.queries_per_video}.",
    ),
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", metavar="F", help=f"Largest learning rate. Default: {_TRAINING.lr:g}.")
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help=f"Network that finds the moments, with the same encoders and co-training: {', '.join(NETWORKS)}. "
        f"Default: {NetworkConfig.network}.",
        autocompletion=lambda: list(NETWORKS),
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="PART",
        help=f"Leave out a part of the network or its losses: {', '.join(NetworkConfig.SWITCHES)}. Repeatable.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.NAME=VALUE",
        help="Change a setting, as in loss.contrast=0.5; mttsg config lists them. Repeatable; wins over --config.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the stopped run in --out.")]
Push = Annotated[
    str | None,
    typer.Option(
        "--push",
        metavar="USER/NAME",
        help="Push the finished model to the Hugging Face Hub. Your permission is checked before the training.",
    ),
]
TrainingSeed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help=f"Seed of all random choices. Default: {_TRAINING.seed}.")
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="N|A,B,...",
        help="Train with several seeds, one after the other, into --out/seed-0 and so on: how many, or which.",
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Write TensorBoard events below the model folder (optional extra)."),
]

# --- options of `evaluate` ----------------------------------------------------------------------------------------

SplitName = Annotated[
    str,
    typer.Option("--split", metavar="NAME", help="Which annotations to evaluate: test, val, or another file's name."),
]
GroundingMode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="independent grounds each sentence by itself; joint lets the sentences of a video help each other.",
    ),
]
PredictionsIn = Annotated[
    list[Path] | None, _file("--predictions", "Score the moments in this file, instead of those of a model.")
]
PredictionsOut = Annotated[Path | None, _file("--out", "Write the predictions to this file.", "-o")]
EvaluationPage = Annotated[
    Path | None, _file("--html", "Write a page with plots and the best and worst answers to this file.")
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines",
        help="Add baselines: spans fitted on train, the whole video, and the model with shuffled sentences or clips.",
    ),
]
Breakdown = Annotated[
    bool, typer.Option("--breakdown", help="Add the figures by length, position and words to the table.")
]
RecallAt = Annotated[str, typer.Option("--at", metavar="N,...", help="In how many best answers to look: the n of R@n.")]
RecallIou = Annotated[
    str,
    typer.Option("--iou", metavar="M,...", help="Overlaps from which on an answer counts as right: the m of IoU=m."),
]
StrictIou = Annotated[
    bool, typer.Option("--strict-iou", help="Count IoU > m as a hit, as some papers do, instead of IoU >= m.")
]
BaselineSeed = Annotated[
    int,
    typer.Option(
        "--seed", callback=_check_seed, metavar="N", help="Seed of the random order of the shuffled baselines."
    ),
]

Charts = Annotated[
    Path | None,
    _folder("--charts", "Write charts as SVG and PDF, and their points as csv, to this folder (optional extra)."),
]

# --- options of `compare` -----------------------------------------------------------------------------------------

Systems = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]MODEL_OR_FILE[,...]...",
        help="Models (folders, numbers of runs, last, user/name) and files of predictions. The others are compared "
        'with the first. Several seeds of one: ours=run1,run2,run3 or "ours=runs/*".',
    ),
]
TableFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="F",
        help=f"{', '.join(TABLE_FORMATS)}. Default: the suffix of --out, else table.",
        autocompletion=lambda: list(TABLE_FORMATS),
    ),
]
TableJson = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
TableOut = Annotated[Path | None, _file("--out", "Write the table to this file.", "-o")]
Decimals = Annotated[
    int,
    typer.Option("--decimals", min=0, max=6, metavar="N", help="Decimals of the figures; csv and json are unrounded."),
]
WithMap = Annotated[bool, typer.Option("--map/--no-map", help="Mean average precision, beside recall and mIoU.")]
ComparisonPage = Annotated[
    Path | None, _file("--html", "Write a page with groups, and the queries that are won and lost, to this file.")
]
SavedPredictions = Annotated[
    Path | None, _folder("--save", "Keep the answers of the models in this folder, as files of predictions.")
]

# --- options of `models` ------------------------------------------------------------------------------------------

ShownModel = Annotated[
    Path | None,
    typer.Option("--show", metavar="DIR|N|last|NAME", help="Show where this model comes from, and all its settings."),
]

# --- options of `ablate` ------------------------------------------------------------------------------------------

AblationOut = Annotated[Path, _folder("--out", "Folder of the runs.", "-o")]
WithoutVariant = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="PART[,PART...]",
        help="Add a variant without this part, or without these together; plain is without all but the offsets. "
        "Repeatable. Default: each part alone, and plain.",
    ),
]
SetVariants = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.NAME=V1[,V2...]",
        help="Add a variant for each of several values of a setting; a single value is set in every run. Repeatable.",
    ),
]
AblationFormat = Annotated[
    str | None,
    typer.Option("--format", metavar="F", help=f"Of the table: {', '.join(TABLE_FORMATS)}. Default: table."),
]
AblationSeeds = Annotated[
    str, typer.Option("--seeds", metavar="N|A,B,...", help="Seeds of each variant: how many, or which.")
]
Folds = Annotated[
    int,
    typer.Option(
        "--folds",
        metavar="K",
        help="Cross-validate over the videos of train and val in K folds; the answers for all are scored together.",
        show_default=False,
    ),
]
Share = Annotated[
    float | None,
    typer.Option(
        "--share", metavar="F", help="Train on this share of the training videos, 0 to 1, and test on the others."
    ),
]
AblationSplit = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Which annotations to test on. Default: val; with --folds the fold left out, with --share the others.",
    ),
]

# --- options of `config` ------------------------------------------------------------------------------------------

SettingsPlace = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA|MODEL",
        help="Show the values in force there: a data folder, or a model (its folder, the number of a run, last, or "
        "user/name on the Hugging Face Hub).",
        show_default=False,
    ),
]
TrainingConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=load_training_settings,
        metavar="FILE.toml",
        help="Show the settings of a training with this file.",
    ),
]
SettingsFormat = Annotated[
    str, typer.Option("--format", metavar="F", help="table, toml (a --config file), json or md.")
]

# --- options of `ground` ------------------------------------------------------------------------------------------

QueriesFile = Annotated[
    Path | None,
    _file("--queries", "File of sentences: one per line, or jsonl; - for standard input.", "-Q"),
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
    typer.Option(
        "--exhaustive", help="Let the network answer in every video; else, of many, in those whose clips fit best."
    ),
]
Below = Annotated[Path | None, _folder("--below", "Only videos in this folder, or below it.")]
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
    _file(
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
    _folder("--clips", "Cut each moment out as an mp4 file, into this folder. Later searches pass over it."),
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
    _file("--join", "Write one film of the moments to this mp4 file, in the order of the rows. Needs no --clips."),
]
MomentsPage = Annotated[Path | None, _file("--html", "Write a page with a player and clickable moments to this file.")]
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
    _fps(
        "Features per second of video, without a trained model. Default: 2. A model has its own; another value is "
        "refused."
    ),
]

# --- options of `serve` -------------------------------------------------------------------------------------------

CorrectionsFolder = Annotated[
    Path | None,
    _folder(
        "--data",
        "Data folder for what you say about answers. Default: one for these videos in your own data folder.",
    ),
]
ClipFolder = Annotated[
    Path | None, _folder("--clips", "Folder for moments that you save. Default: beside their video.")
]
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

# --- options of `search` ------------------------------------------------------------------------------------------

SearchTop = Annotated[
    int | None, typer.Option("--top", "-k", min=1, metavar="N", help="Moments that are shown at a time. Default: 5.")
]
CutFolder = Annotated[
    Path | None, _folder("--clips", "Folder of the moments that :cut cuts out. Default: the current folder.")
]

# --- options of `index` -------------------------------------------------------------------------------------------

IndexSources = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Video files, folders to search for videos, patterns; or an index."),
]
IndexOut = Annotated[
    Path | None, _folder("--index", "Folder of the index. Default: named after the first PATH, here: videos.index.")
]

# --- options of `setup` and `cache` -------------------------------------------------------------------------------

EncoderToGet = Annotated[
    str | None, typer.Option("--encoder", metavar="ID", help="Video encoder to download; alone, nothing else is.")
]
TextEncoderToGet = Annotated[
    str | None, typer.Option("--text-encoder", metavar="ID", help="Text encoder to download; alone, nothing else is.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Delete features of videos that are gone, and unfinished ones.")]
OlderThan = Annotated[
    float | None,
    typer.Option("--older-than", min=0, metavar="DAYS", help="With --prune: also what was made more than DAYS ago."),
]
