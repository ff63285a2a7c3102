"""Options of `setup` and `cache`, and those of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

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
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS|auto",
        help="Read videos on a cluster of Ray: HOST:PORT of its head node, or auto for the one of this computer "
        "(pip install 'mttsg[ray]'). --workers is then of the whole cluster, by default one per core.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        metavar="G",
        help="With --ray: how much of a GPU each worker takes, if its encoder runs on one. Default: 0.25.",
    ),
]
