"""The `Grounder` of `mttsg ground`: a trained model, else a pretrained encoder; which one it is, is always said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter

if TYPE_CHECKING:
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.search.index_folder import IndexFolder
    from mttsg_core.workflows.model_choice import ModelChoice
    from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions


def load_grounder(
    model: Path | None,
    videos: Sequence[Path],
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
    *,
    zero_shot: bool = False,
) -> tuple[Grounder, str]:
    """Return what `load_chosen` does, with the model in one line for pages."""
    grounder, choice = load_chosen(model, videos, features, runtime, reporter, zero_shot=zero_shot)
    return grounder, choice.about


def load_chosen(
    model: Path | None,
    videos: Sequence[Path],
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
    *,
    zero_shot: bool = False,
) -> tuple[Grounder, ModelChoice]:
    """Load a trained model; where none fits the videos, or only a pretrained encoder is named, one without training.

    Args:
        model: as the user named it.
        videos: as the user named them.
        features: encoder and external features.
        runtime: device, cache and network access.
        reporter: says which model it is.
        zero_shot: answer without training, even where a trained model fits.

    Returns:
        The grounder, and which model it is.

    Raises:
        ModelError, ConfigError: as `loading.load_trained` and `loading.load_zero_shot`.
    """
    from mttsg_core.workflows.loading import external_fingerprint, load_trained, load_zero_shot
    from mttsg_core.workflows.model_choice import choose_for_videos, choose_zero_shot

    if zero_shot:
        external = None if features.features is None else external_fingerprint(features.features, videos)
        choice = choose_zero_shot(model, features, external)
        reporter.say(choice.line)  # before a download
        return load_zero_shot(features, runtime, external), choice
    choice = choose_for_videos(model, videos, features, offline=runtime.offline)
    if choice.folder is None:
        reporter.say(choice.line)  # before a download
        return load_zero_shot(features, runtime), choice
    grounder = load_trained(choice.folder, features, runtime)
    reporter.say(choice.line)
    return grounder, choice


def load_for_index(
    index: IndexFolder,
    model: Path | None,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
    *,
    zero_shot: bool = False,
) -> tuple[Grounder, ModelChoice]:
    """Load the model that an index was made by last, unless one is named; else as `load_chosen` for its sources."""
    if not zero_shot and model is None and features.encoder is None and index.models:
        last = index.models[-1]
        if last.folder is not None:
            model = Path(last.folder)
        else:
            features = replace(features, encoder=last.encoder, fps=features.fps or last.fps)
    return load_chosen(model, index.sources, features, runtime, reporter, zero_shot=zero_shot)
