"""`mttsg config`."""

from __future__ import annotations

import typer

from mttsg_cli import options
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.settings_file import parse_settings, settings_layers
from mttsg_cli.settings_formats import SETTINGS_FORMATS, print_settings
from mttsg_core.config import refuse_unknown


def config(
    context: typer.Context,
    place: options.SettingsPlace = None,
    assigned: options.Set = None,
    form: options.SettingsFormat = "table",
    offline: options.Offline = False,
    config: options.TrainingConfigFile = None,
    as_json: options.JsonFormat = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print every setting of the network, the losses and the training: its default, its range and what it means.

    With a data folder or a model: the values in force there, and where each comes from.

    Examples:

        mttsg config

        mttsg config data/ --config mine.toml --set loss.contrast=0.5

        mttsg config model --format toml
    """
    with exit_codes():
        reporter = Reporter(quiet=quiet, verbose=verbose)
        form = "json" if as_json else form
        refuse_unknown([form], SETTINGS_FORMATS, "--format")
        from mttsg_core.workflows.settings_in_force import settings_in_force

        shown = settings_in_force(place, settings_layers(context, parse_settings(assigned or [])), offline=offline)
        if shown.place is not None:
            reporter.say(f"settings of the {'model' if shown.is_model else 'data folder'} {shown.place}")
        print_settings(shown, form)
