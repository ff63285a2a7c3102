"""The groups of options in `--help`, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping

PANELS: Mapping[str, tuple[str, ...]] = {
    "Sentences and answers": ("queries", "top", "all", "threshold", "below", "since", "exhaustive"),
    "Evaluation": (
        *("split", "mode", "predictions", "baselines", "breakdown", "at", "iou", "strict-iou"),
        *("map", "highlights", "zero-shot", "per-query"),
    ),
    "Training": (
        *("epochs", "batch-videos", "queries-per-video", "lr", "network", "without", "set", "seeds", "folds", "share"),
        *("resume", "push", "tensorboard"),
    ),
    "Output": (
        *("format", "decimals", "json", "out", "overwrite", "html", "charts", "save", "open", "play", "clips"),
        *("clip-name", "pad", "join", "index"),
    ),
    "Model and features": (
        *("model", "encoder", "text-encoder", "joint", "features", "features-of", "bins", "duration", "fps", "reader"),
    ),
    "Page": ("port", "host", "token", "data"),
    "Computer": ("device", "precision", "workers", "memory", "cache", "offline", "ray", "gpus-per-worker"),
    "General": ("config", "seed", "strict", "quiet", "verbose", "help"),
}

_PANEL_OF = {f"--{option}": panel for panel, options in PANELS.items() for option in options}


def panel_of(options: list[str]) -> str | None:
    """Return the panel of an option with these names, or None for the one that typer chooses."""
    return next((_PANEL_OF[option] for option in options if option in _PANEL_OF), None)
