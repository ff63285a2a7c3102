"""`mttsg cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.options import common, computer_options
from mttsg_cli.tables import MISSING, print_columns
from mttsg_cli.writers import print_json
from mttsg_core.errors import ConfigError
from mttsg_core.utils.paths import home_relative
from mttsg_core.utils.text import count, format_bytes

if TYPE_CHECKING:
    from mttsg_core.features.cache_contents import CacheContents


def cache(
    prune: computer_options.Prune = False,
    older_than: computer_options.OlderThan = None,
    cache: common.Cache = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Show what is in the cache of features, or delete what has become useless.

    A video is stale if it is not where it was when its features were made. Nothing is deleted while another process
    writes to the cache.

    Examples:

        mttsg cache

        mttsg cache --prune --older-than 90
    """
    with exit_codes():
        from mttsg_core.features.cache_contents import list_cache, prune_cache
        from mttsg_core.workflows.options import RuntimeOptions

        if older_than is not None and not prune:
            raise ConfigError("--older-than needs --prune")
        store = RuntimeOptions(cache=cache).feature_cache()
        report: dict[str, object] = {}
        if prune:
            deleted, freed = prune_cache(store, older_than)
            report = {"deleted": deleted, "freed_bytes": freed}
            Reporter(quiet=quiet).say(f"deleted: {count(deleted, 'video')}, {format_bytes(freed)}")
        contents = list_cache(store)
        if as_json:
            print_json({**contents.as_dict(), **report})
        elif not prune:
            _print_contents(contents)


def _print_contents(contents: CacheContents) -> None:
    """Print a row for each encoder, and the sums."""
    rows = [
        (
            f"{group.encoder.partition('@')[0]}, {group.name.rpartition('-')[2]}",
            [
                MISSING if group.fps is None else f"{group.fps:g}",
                f"{group.videos:,}",
                format_bytes(group.bytes),
                f"{group.stale:,}",
            ],
        )
        for group in contents.groups
    ]
    if contents.unfinished:
        rows.append(("unfinished", [MISSING, f"{contents.unfinished:,}", format_bytes(contents.unfinished_bytes), "0"]))
    title = f"{home_relative(contents.folder)}: {format_bytes(contents.bytes)}"
    print_columns(title, ["fps", "videos", "size", "stale"], rows)
