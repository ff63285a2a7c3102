"""The `mttsg` program: its commands over `mttsg_core`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from mttsg_cli.commands.ablate import ablate
from mttsg_cli.commands.cache import cache
from mttsg_cli.commands.check import check
from mttsg_cli.commands.compare import compare
from mttsg_cli.commands.config import config
from mttsg_cli.commands.doctor import doctor
from mttsg_cli.commands.evaluate import evaluate
from mttsg_cli.commands.extract import extract
from mttsg_cli.commands.ground import ground
from mttsg_cli.commands.index import index
from mttsg_cli.commands.models import models
from mttsg_cli.commands.search import search
from mttsg_cli.commands.serve import serve
from mttsg_cli.commands.setup import setup
from mttsg_cli.commands.train import train
from mttsg_cli.program import GroupedCommand, Program, WordsCommand
from mttsg_core import __version__

app = typer.Typer(
    cls=Program,
    name="mttsg",
    help="Find the moments of videos that sentences describe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode="rich",
)
app.command(no_args_is_help=True, cls=WordsCommand)(ground)
for command in (search, serve, train, evaluate, compare, ablate, extract, index, check):
    app.command(no_args_is_help=True, cls=GroupedCommand)(command)
for of_this_computer in (models, config, setup, doctor, cache):
    app.command(cls=GroupedCommand)(of_this_computer)


def _print_version(show: bool) -> None:
    if show:
        typer.echo(f"mttsg {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.getLogger("mttsg").addHandler(logging.NullHandler())  # commands show the same messages themselves
