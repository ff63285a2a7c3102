"""The `Grounder` of `mttsg ground`: a trained model, else a pretrained encoder; which one it is, is always said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter

if TYPE_CHECKING:
    from mttsg_core.inference.grounder import Grounder
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
    """Load a trained model; where none fits the videos, or only a pretrained encoder is named, one without training.

    Args:
        model: as the user named it.
        videos: as the user named them.
        features: encoder and external features.
        runtime: device, cache and network access.
        reporter: says which model it is.
        zero_shot: answer without training, even where a trained model fits.

    Returns:
        The grounder, and the model in one line for pages.

    Raises:
        ModelError, ConfigError: as `loading.load_trained` and `loading.load_zero_shot`.
    """
    from mttsg_core.workflows.loading import external_fingerprint, load_trained, load_zero_shot
    from mttsg_core.workflows.model_choice import choose_for_videos, choose_zero_shot

    if zero_shot:
        external = None if features.features is None else external_fingerprint(features.features, videos)
        choice = choose_zero_shot(model, features, external)
        reporter.say(choice.line)  # before a download
        return load_zero_shot(features, runtime, external), choice.about
    choice = choose_for_videos(model, videos, features, offline=runtime.offline)
    if choice.folder is None:
        reporter.say(choice.line)  # before a download
        return load_zero_shot(features, runtime), choice.about
    grounder = load_trained(choice.folder, features, runtime)
    reporter.say(choice.line)
    return grounder, choice.about
