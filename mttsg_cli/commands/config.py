"""`mttsg config`."""

from __future__ import annotations

import typer

from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.options import common, search_options, training_options
from mttsg_cli.settings_file import parse_settings, settings_layers
from mttsg_cli.settings_formats import SETTINGS_FORMATS, print_settings
from mttsg_core.config import refuse_unknown


def config(
    context: typer.Context,
    place: training_options.SettingsPlace = None,
    assigned: training_options.Set = None,
    form: training_options.SettingsFormat = "table",
    offline: common.Offline = False,
    config: training_options.TrainingConfigFile = None,
    as_json: search_options.JsonFormat = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
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
