"""How the program reads its command line: wrong usage is one printable line, and `--` keeps its place among words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mttsg_cli.console import UNUSABLE, Reporter
from mttsg_cli.help_panels import PANELS, panel_of
from mttsg_cli.inputs import mark_split
from mttsg_core.config import nearest
from mttsg_core.utils.launch import is_first_of_machine

_UsageError: Any = typer.BadParameter.__base__  # of click, which some versions of typer contain and others import
_REPEATED = re.compile(r"\{(.*\.\.\..*)\}\.\.\.")
_OTHER_NAMES = {
    **dict.fromkeys(("ask", "predict", "infer", "find", "localize"), "ground"),
    **dict.fromkeys(("eval", "test", "score"), "evaluate"),
    **dict.fromkeys(("fit", "finetune"), "train"),
    **dict.fromkeys(("validate", "lint", "stats"), "check"),
    **dict.fromkeys(("runs", "list", "ls"), "models"),
    **dict.fromkeys(("settings", "defaults", "options"), "config"),
}


class Program(TyperGroup):
    """The program: its commands, and wrong usage as one line with exit code 2."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse the options of the program itself."""
        with _usage_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of a command and run it."""
        with _usage_errors():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is named. Wrong names are answered with the one that was probably meant."""
        if (
            args
            and not args[0].startswith("-")
            and self.get_command(ctx, args[0]) is None
            and not ctx.resilient_parsing
        ):
            commands = self.list_commands(ctx)
            near = nearest(args[0], commands)
            meant = _OTHER_NAMES.get(args[0].casefold())
            near = meant if meant in commands else near
            hint = f"; did you mean {near!r}?" if near else f"; one of: {', '.join(commands)}"
            ctx.fail(f"no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


class GroupedCommand(TyperCommand):
    """A command whose options are shown in groups, in one order for all commands."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params = sorted(self.params, key=_place)
        for parameter in self.params:
            _arrange(parameter)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, --help included."""
        parameters: list[Any] = super().get_params(ctx)
        _arrange(parameters[-1])
        return parameters

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line; an argument whose name shows how often it is given stays as it is."""
        return [_REPEATED.sub(r"\1", piece) for piece in super().collect_usage_pieces(ctx)]


class WordsCommand(GroupedCommand):
    """A command whose words are divided by `--`: see `inputs.mark_split`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        flags = (getattr(parameter, "is_flag", False) for parameter in self.params)
        with_value = (
            option
            for parameter, is_flag in zip(self.params, flags, strict=True)
            if not is_flag
            for option in parameter.opts
        )
        return super().parse_args(ctx, mark_split(args, frozenset(with_value)))


def _arrange(parameter: Any) -> None:
    """Put an option into its group. The kinds of arguments and switches are not shown: their names say it."""
    if parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: None
    if parameter.param_type_name == "option":
        parameter.rich_help_panel = panel_of(parameter.opts)
        if parameter.is_flag and parameter.metavar is None:
            parameter.metavar = ""


def _place(parameter: Any) -> int:
    """Return where a parameter is shown: arguments first, then the panels."""
    if parameter.param_type_name != "option":
        return -1
    panels = list(PANELS)
    panel = panel_of(parameter.opts)
    return panels.index(panel) if panel is not None else len(panels)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Print an error of the parser as one line, without control characters, and end the program."""
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        context = error.ctx
        text = " ".join(str(_message(error)).split("\n")).rstrip(".")
        if context is not None:
            text += f"; see {context.command_path} --help"
        if is_first_of_machine():
            Reporter().error(text)
        raise typer.Exit(UNUSABLE) from None


def _message(error: Any) -> str:
    """Return what is wrong: with which option, or with the option that was probably meant."""
    kind = type(error).__name__
    if kind == "NoSuchOption" and error.ctx is not None:
        parameters = error.ctx.command.params
        known = [name[2:] for parameter in parameters for name in parameter.opts if name.startswith("--")]
        near = nearest(error.option_name.lstrip("-"), known)
        return f"no option {error.option_name}" + (f"; did you mean --{near}?" if near else "")
    if isinstance(error, typer.BadParameter) and getattr(error, "param", None) is not None and error.message:
        parameter: Any = error.param
        name = max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.metavar
        return f"{name}: {error.message[:1].lower()}{error.message[1:]}"
    return str(error.format_message())
