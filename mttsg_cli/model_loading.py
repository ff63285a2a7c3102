"""The `Grounder` that the options of a command ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_cli.console import Reporter

if TYPE_CHECKING:
    from mttsg_core.inference.grounder import Grounder


def load_model(
    model: Path | None,
    *,
    encoder: str | None,
    text_encoder: str | None,
    fps: float | None,
    device: str,
    cache: Path | None,
    offline: bool,
) -> Grounder:
    """A trained model. What shapes its inputs is its own: other values are refused.

    Raises:
        ModelError: if there is no such model.
        ConfigError: if it was trained with another encoder, text encoder or rate, naming both.
    """
    from mttsg_core.checkpoints.hub import find_model
    from mttsg_core.encoders import DEFAULT_ENCODER
    from mttsg_core.errors import ConfigError
    from mttsg_core.inference.grounder import Grounder

    folder = find_model(model, offline=offline)
    to_find = None if encoder == DEFAULT_ENCODER else encoder  # which is built in, and in no folder
    grounder = Grounder.load(folder, device=device, cache=cache, encoder=to_find, offline=offline)
    own = grounder.fingerprint
    if encoder == DEFAULT_ENCODER != own.get("encoder"):
        raise ConfigError(f"--encoder {encoder}: {folder} was trained with {own.get('encoder')!r}")
    if fps is not None and fps != own.get("fps"):
        rate = f"{own['fps']} clips a second" if "fps" in own else "features made elsewhere, of no known rate"
        raise ConfigError(f"--fps {fps:g}: {folder} was trained on {rate}")
    _same_text_encoder(text_encoder, grounder, str(folder), offline=offline)
    return grounder


def load_any(
    model: Path | None,
    reporter: Reporter,
    *,
    encoder: str | None,
    text_encoder: str | None,
    fps: float | None,
    with_features: bool,
    device: str,
    cache: Path | None,
    offline: bool,
) -> Grounder:
    """A trained model; where there is none, or only a pretrained encoder is named, an answer without training.

    Raises:
        ModelError, ConfigError: as `load_model`, and if the pretrained encoder cannot be used.
    """
    from mttsg_core.checkpoints.runs import newest_run
    from mttsg_core.encoders import DEFAULT_ENCODER, DEFAULT_PRETRAINED
    from mttsg_core.features.extraction import ExtractionSettings
    from mttsg_core.inference.grounder import Grounder

    pretrained = None if encoder == DEFAULT_ENCODER else encoder
    if model is not None or (pretrained is None and (with_features or newest_run())):
        return load_model(
            model, encoder=encoder, text_encoder=text_encoder, fps=fps, device=device, cache=cache, offline=offline
        )
    chosen = encoder or DEFAULT_PRETRAINED
    reporter.say(
        f"no trained model is used: {chosen} compares frames with the sentence; to train one: mttsg train DATA"
    )
    rate = ExtractionSettings.fps if fps is None else fps
    grounder = Grounder.zero_shot(chosen, fps=rate, device=device, cache=cache, offline=offline)
    _same_text_encoder(text_encoder, grounder, "an answer without training", offline=offline)
    return grounder


def _same_text_encoder(asked: str | None, grounder: Grounder, who: str, *, offline: bool) -> None:
    """Check that the text encoder is what is asked for. Raises ConfigError, naming both."""
    if asked is None:
        return
    from mttsg_core.encoders import OWN_TEXT_TOWER
    from mttsg_core.errors import ConfigError
    from mttsg_core.inference.predictor import MKTNPredictor

    predictor = grounder.predictor
    own = predictor.text_encoder.id if isinstance(predictor, MKTNPredictor) else OWN_TEXT_TOWER
    if own not in _text_encoder_ids(asked, offline=offline) and asked != own.partition("@")[0]:
        raise ConfigError(f"--text-encoder {asked}: {who} has {own!r}")


def _text_encoder_ids(asked: str, *, offline: bool) -> Iterator[str]:
    """What a text encoder that is named so may be called in a model. Nothing is downloaded."""
    from mttsg_core.encoders.word_vectors import WordVectors

    yield asked
    kind, _, file = asked.partition(":")
    if kind == WordVectors.kind:
        yield f"{kind}:{Path(file).name}"
    elif Path(asked).expanduser().is_dir():
        from mttsg_core.encoders.hf_files import find_files

        yield find_files(asked, "text encoder", offline=offline).id
