"""The `Grounder` that `mttsg ground` uses: a trained model, else a pretrained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter

if TYPE_CHECKING:
    from mttsg_core.inference.grounder import Grounder
    from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions


def load_grounder(
    model: Path | None, features: FeatureOptions, runtime: RuntimeOptions, reporter: Reporter
) -> Grounder:
    """Load a trained model; where there is none, or only a pretrained encoder is named, one that needs no training.

    Raises:
        ModelError, ConfigError: as `loading.load_trained` and `loading.load_zero_shot`.
    """
    from mttsg_core.workflows.loading import load_trained, load_zero_shot, uses_trained_model, zero_shot_encoder

    if uses_trained_model(model, features):
        return load_trained(model, features, runtime)
    encoder = zero_shot_encoder(features)
    reporter.say(f"no trained model: {encoder} compares frames with the sentence; to train a model: mttsg train DATA")
    return load_zero_shot(features, runtime)
