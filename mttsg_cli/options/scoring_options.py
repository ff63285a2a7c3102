"""Options of the commands that measure: `evaluate`, `compare`; and of `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mttsg_cli.options.makers import check_seed, file, folder
from mttsg_cli.table_formats import PREDICTION_FORMATS, TABLE_FORMATS

# --- options of `evaluate` ------------------------------------------------------------------------------------------

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
    list[Path] | None, file("--predictions", "Score the moments in this file, instead of those of a model.")
]
PredictionsOut = Annotated[Path | None, file("--out", "Write the predictions to this file.", "-o")]
PredictionForm = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="F",
        help=f"Form of the file of --out: {', '.join(PREDICTION_FORMATS)}, the first our own, the others submissions.",
        autocompletion=lambda: list(PREDICTION_FORMATS),
    ),
]
EvaluationPage = Annotated[
    Path | None, file("--html", "Write a page with plots and the best and worst answers to this file.")
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
        "--seed", callback=check_seed, metavar="N", help="Seed of the random order of the shuffled baselines."
    ),
]

Charts = Annotated[
    Path | None,
    folder("--charts", "Write charts as SVG and PDF, and their points as csv, to this folder (optional extra)."),
]

# --- options of `compare` -------------------------------------------------------------------------------------------

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
TableOut = Annotated[Path | None, file("--out", "Write the table to this file.", "-o")]
Decimals = Annotated[
    int,
    typer.Option("--decimals", min=0, max=6, metavar="N", help="Decimals of the figures; csv and json are unrounded."),
]
WithMap = Annotated[bool, typer.Option("--map/--no-map", help="Mean average precision, beside recall and mIoU.")]
WithHighlights = Annotated[
    bool,
    typer.Option(
        "--highlights/--no-highlights",
        help="Highlight scores, where rows have ratings of clips and answers scores.",
    ),
]
ComparisonPage = Annotated[
    Path | None, file("--html", "Write a page with groups, and the queries that are won and lost, to this file.")
]
SavedPredictions = Annotated[
    Path | None, folder("--save", "Keep the answers of the models in this folder, as files of predictions.")
]

# --- options of `models` --------------------------------------------------------------------------------------------

ShownModel = Annotated[
    Path | None,
    typer.Option("--show", metavar="DIR|N|last|NAME", help="Show where this model comes from, and all its settings."),
]
