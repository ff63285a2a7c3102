"""The command line as it could be typed again, for the record of a model or a page."""

from __future__ import annotations

from collections.abc import Iterator

import typer


def command_words(context: typer.Context) -> list[str]:
    """Return the words of the running command: its arguments and the options that were given, in their order of help.

    Options that a --config file gives are not repeated; the file itself is an option.
    """
    return ["mttsg", str(context.info_name), *_arguments(context), *_options(context)]


def _arguments(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.params:
        if parameter.param_type_name == "argument":
            yield from _values(context.params.get(str(parameter.name)))


def _options(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.params:
        name = str(parameter.name)
        if parameter.param_type_name != "option" or name not in context.params:
            continue
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        option, value = max(parameter.opts, key=len), context.params[name]
        if isinstance(value, bool):
            yield option if value or not parameter.secondary_opts else max(parameter.secondary_opts, key=len)
        else:
            for one in _values(value):
                yield from (option, one)


def _values(value: object) -> Iterator[str]:
    if isinstance(value, list | tuple):
        yield from map(str, value)
    elif value is not None:
        yield str(value)
