"""Options that several commands share, and files of settings (`--config`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mttsg_cli.console import Reporter
from mttsg_core.config import refuse_unknown
from mttsg_core.errors import ConfigError
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import count

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = ("network", "loss", "training")  # of a --config file, for `train`
_NAMED = 3  # bad rows that are named, of those that are counted


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the settings of a TOML file the defaults of the other options; its tables go to `context.obj`.

    Raises:
        typer.BadParameter: if it cannot be read, or holds a name that is no option of this command.
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
    names: dict[str, str] = {}  # option without dashes -> parameter
    for parameter in context.command.params:
        for option in parameter.opts:
            if option.startswith("--") and parameter.name not in (None, "config", "help"):
                names[option[2:].replace("-", "_")] = str(parameter.name)
    try:
        refuse_unknown((key.replace("-", "_") for key in settings), names, f"setting in {path}")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    context.default_map = {names[key.replace("-", "_")]: value for key, value in settings.items()}
    context.obj = tables
    return path


def config_tables(context: typer.Context) -> dict[str, dict[str, Any]]:
    """The tables of the `--config` file, empty where there are none."""
    found = context.obj or {}
    return {name: dict(found.get(name, {})) for name in TABLES}


def given(**options: Any) -> dict[str, Any]:
    """Those options that the user gave: the rest keep the defaults of whoever takes them."""
    return {name: value for name, value in options.items() if value is not None}


def fps_option(meaning: str) -> Any:
    """The option --fps of a command to which it means that."""
    return typer.Option("--fps", min=0.01, max=120, metavar="F", help=meaning)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", is_eager=True, callback=load_config, metavar="FILE.toml", help="Settings, named as the options."
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="DIR|NAME",
        help="Model: a folder, or user/name on the Hugging Face Hub. Default: the newest finished run.",
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="Video encoder: classic (built in), or a pretrained model such as CLIP: its name on the Hugging Face Hub, "
        "or a folder. Default: classic.",
    ),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder",
        metavar="ID",
        help="hashed (built in), glove:FILE, clip (the text tower of the video encoder), or a pretrained text model. "
        "Default: clip with a pretrained encoder, else a glove*.txt beside train.jsonl, else hashed.",
    ),
]
Fps = Annotated[float | None, fps_option("Clips a second. Default: 2.")]
KnownTextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder", metavar="ID", help="The model's text encoder, where that must be certain: another is refused."
    ),
]
KnownFps = Annotated[
    float | None, fps_option("The model's clips a second, where that must be certain: another is refused.")
]
NoSeed = Annotated[
    int | None,
    typer.Option("--seed", help="Taken as every command takes it, and without effect: nothing here is random."),
]
Reader = Annotated[
    str | None, typer.Option("--reader", metavar="auto|pyav|decord", help="What decodes the videos. Default: auto.")
]
Features = Annotated[
    Path | None, typer.Option("--features", metavar="DIR", help="Features made elsewhere, one file a video, or HDF5.")
]
KnownEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="ID",
        help="The model's encoder: its folder, if it lies in one that is not known here yet. Another is refused.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Where networks run.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network: pretrained models must be here.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", envvar="MTTSG_CACHE", help="Cached features. Default: your cache folder."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="Videos read at a time. Default: one a core.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make anew what is there already.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: every file, every bad row.")]


def report_problems(reporter: Reporter, problems: Sequence[Problem]) -> None:
    """Say how many rows were skipped and why; each by itself when asked to be verbose."""
    for problem in problems if reporter.verbose else problems[:_NAMED]:
        reporter.warn(str(problem))
    if problems:
        named = reporter.verbose or len(problems) <= _NAMED
        reporter.warn(f"{count(len(problems), 'bad row')} skipped" + ("" if named else " (--verbose names each)"))
