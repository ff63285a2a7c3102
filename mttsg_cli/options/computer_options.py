"""Options of `setup` and `cache`."""

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
