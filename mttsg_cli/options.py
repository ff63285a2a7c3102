"""The options of all commands, and files of settings (`--config`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mttsg_cli.writers import FORMATS
from mttsg_core.config import NetworkConfig, TrainingConfig, refuse_unknown
from mttsg_core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from mttsg_core.evaluation.metrics import MetricConfig

_Number = TypeVar("_Number", int, float)

TABLES = ("network", "loss", "training")  # of a --config file of `train`
_TRAINING = TrainingConfig()


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the settings of a TOML file the defaults of the other options; its tables go to `context.obj`.

    Raises:
        typer.BadParameter: if the file cannot be read, or has a name that is not an option of the command.
    """
    if path is None or context.resilient_parsing:
        return path
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}") from error
    takes_tables = context.info_name == "train"
    tables = {name: settings.pop(name) for name in TABLES if takes_tables and isinstance(settings.get(name), dict)}
    parameters: dict[str, str] = {}  # by option, without dashes
    for parameter in context.command.params:
        for option in parameter.opts:
            if option.startswith("--") and parameter.name not in (None, "config", "help"):
                parameters[option[2:].replace("-", "_")] = str(parameter.name)
    try:
        refuse_unknown((key.replace("-", "_") for key in settings), parameters, f"setting in {path}")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    defaults = {parameters[key.replace("-", "_")]: value for key, value in settings.items()}
    repeatable = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    context.default_map = {
        name: [value] if name in repeatable and not isinstance(value, list) else value
        for name, value in defaults.items()
    }
    context.obj = tables
    return path


def config_tables(context: typer.Context) -> dict[str, dict[str, Any]]:
    """Return the tables of the `--config` file; those that it does not have are empty."""
    tables = context.obj or {}
    return {name: dict(tables.get(name, {})) for name in TABLES}


def given(**options: Any) -> dict[str, Any]:
    """Return the options that the user gave; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def only(values: Sequence[Path] | None, option: str) -> Path | None:
    """Return the value of an option that can be given once, or None.

    Raises:
        ConfigError: if it was given several times: of two models or files, none is silently left out.
    """
    if values and len(values) > 1:
        shown = " and ".join(f"{option} {value}" for value in values)
        raise ConfigError(f"{shown}: give one of them, and run the command for each")
    return values[0] if values else None


def metric_config(at: str, iou: str, *, strict: bool) -> MetricConfig:
    """Return the figures that --at, --iou and --strict-iou ask for.

    Raises:
        ConfigError: if they are not numbers separated by commas, as in `1,5`, or out of range.
    """
    from mttsg_core.evaluation.metrics import MetricConfig

    return MetricConfig(_numbers("--at", at, int), _numbers("--iou", iou, float), strict, average_precision=True)


def _numbers(option: str, text: str, number: Callable[[str], _Number]) -> tuple[_Number, ...]:
    """Parse numbers separated by commas, ascending and each once. Brackets around them are allowed, as in TOML."""
    try:
        return tuple(sorted({number(part) for part in text.strip("[]() ").split(",")}))
    except ValueError:
        raise ConfigError(f"{option}: numbers separated by commas, not {text!r}") from None


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
Videos = Annotated[list[Path], typer.Argument(metavar="PATH", help="Video files, and folders to search for videos.")]
Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="Video file, or a folder to search for videos.")]
Queries = Annotated[list[str] | None, typer.Argument(metavar="QUERY", help="Sentences.")]

# --- options of several commands ----------------------------------------------------------------------------------

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        is_eager=True,
        callback=load_config,
        metavar="FILE.toml",
        help="Read options from a file; their names are the same there.",
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
Fps = Annotated[float | None, _fps("Clips per second. Default: 2.")]
ModelFps = Annotated[
    float | None, _fps("Make sure that these are the model's clips per second; a model with others is refused.")
]
Reader = Annotated[
    str | None, typer.Option("--reader", metavar="auto|pyav|decord", help="Video decoder. Default: auto.")
]
Features = Annotated[
    Path | None, _folder("--features", "External features: a folder with one file per video, or an HDF5 file.")
]
Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Device that networks run on.")
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
    int | None, typer.Option("--seed", metavar="N", help="Accepted by every command; nothing in this one is random.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
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
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="|".join(NetworkConfig.SWITCHES), help="Leave out a part (repeatable)."),
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
    int | None, typer.Option("--seed", metavar="N", help=f"Seed of everything random. Default: {_TRAINING.seed}.")
]
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Write TensorBoard events below the model folder (optional extra)."),
]

# --- options of `evaluate` ----------------------------------------------------------------------------------------

SplitName = Annotated[str, typer.Option("--split", metavar="NAME", help="Split to evaluate.")]
GroundingMode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="independent|joint",
        help="Ground each sentence by itself, or let the sentences of a video help each other.",
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
RecallAt = Annotated[
    str, typer.Option("--at", metavar="N,...", help="The n of R@n: numbers of answers that are considered.")
]
RecallIou = Annotated[str, typer.Option("--iou", metavar="M,...", help="The m of IoU=m: overlaps that count as a hit.")]
StrictIou = Annotated[
    bool, typer.Option("--strict-iou", help="Count IoU > m as a hit, as some papers do, instead of IoU >= m.")
]
BaselineSeed = Annotated[
    int, typer.Option("--seed", min=0, max=2**63 - 1, metavar="N", help="Seed of the shuffles of --baselines.")
]

# --- options of `models` ------------------------------------------------------------------------------------------

ShownModel = Annotated[
    Path | None,
    typer.Option("--show", metavar="DIR|N|last|NAME", help="Show where this model comes from, and all its settings."),
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
        help="The N best moments for each sentence, of the video or of the whole folder. Default: the best one of each "
        "video.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        help="Output format. Default: the suffix of --out, else table on a terminal and tsv otherwise.",
        autocompletion=lambda: list(FORMATS),
    ),
]
JsonFormat = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
MomentsOut = Annotated[Path | None, _file("--out", "Write the moments to this file; - for standard output.", "-o")]
Threshold = Annotated[
    float, typer.Option("--threshold", min=0, max=1, metavar="S", help="Leave out moments with a lower score.")
]
ExcerptFolder = Annotated[
    Path | None,
    _folder("--clips", "Write each moment as an mp4 file to this folder, which is not searched for videos."),
]
ExcerptName = Annotated[
    str | None,
    typer.Option(
        "--clip-name",
        metavar="TEMPLATE",
        help="Names of the files in --clips, with the fields {video} {rank} {start} {end} {query} {score}. "
        "Default: {video}_{rank}_{start}-{end}.",
    ),
]
MomentsPage = Annotated[Path | None, _file("--html", "Write a page with players and clickable moments to this file.")]
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
        "Clips per second of an answer without training. Default: 2. A trained model has its own; another value is "
        "refused."
    ),
]

# --- options of `setup` and `cache` -------------------------------------------------------------------------------

EncoderToGet = Annotated[
    str | None, typer.Option("--encoder", metavar="ID", help="Video encoder to download; alone, nothing else is.")
]
TextEncoderToGet = Annotated[
    str | None, typer.Option("--text-encoder", metavar="ID", help="Text encoder to download; alone, nothing else is.")
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Delete features of videos that are gone, and unfinished ones."),
]
OlderThan = Annotated[
    float | None,
    typer.Option("--older-than", min=0, metavar="DAYS", help="With --prune: also what was made more than DAYS ago."),
]
