"""Options of the commands that train, and of the settings: `train`, `ablate`, `config`; and of `extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mttsg_cli.options.makers import folder
from mttsg_cli.settings_file import load_training_settings
from mttsg_cli.table_formats import TABLE_FORMATS
from mttsg_core.config import NETWORKS, NetworkConfig, TrainingConfig

_TRAINING = TrainingConfig()

# --- options of `extract` and `train` -------------------------------------------------------------------------------

FeaturesOut = Annotated[Path | None, folder("--out", "Write features to this folder instead of the cache.", "-o")]
ModelOut = Annotated[Path | None, folder("--out", "Model folder. Default: a new numbered run.", "-o")]
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
        metavar="PART[,PART...]",
        help=f"Leave out parts of the network or its losses: {', '.join(NetworkConfig.SWITCHES)}. Repeatable.",
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

# --- options of `ablate` --------------------------------------------------------------------------------------------

AblationOut = Annotated[Path, folder("--out", "Folder of the runs.", "-o")]
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

# --- options of `config` --------------------------------------------------------------------------------------------

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
