"""Models for the workflows. A model keeps its own encoder, text encoder and clip rate; other values are refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mttsg_core.data.file_index import open_index
from mttsg_core.encoders import DEFAULT_ENCODER, DEFAULT_PRETRAINED, OWN_TEXT_TOWER
from mttsg_core.encoders.base import Settings
from mttsg_core.encoders.known import full_name
from mttsg_core.encoders.word_vectors import WordVectors
from mttsg_core.errors import ConfigError, FeatureError
from mttsg_core.features.extraction import ExtractionSettings
from mttsg_core.features.store import EXTERNAL
from mttsg_core.features.streams import FeaturePlaces, parse_streams
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.utils.files import without_suffix
from mttsg_core.video.discovery import VIDEO_SUFFIXES, VideoFile, find_videos
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions


def load_trained(folder: Path, features: FeatureOptions, runtime: RuntimeOptions) -> Grounder:
    """Load a trained model.

    Args:
        folder: of the model.
        features: what the model must have been trained with; None accepts any.
        runtime: device, cache and network access.

    Raises:
        ModelError: if there is no such model.
        ConfigError: if it was trained with another encoder, text encoder or clip rate, naming both.
    """
    encoder = features.encoder
    grounder = Grounder.load(
        folder,
        device=runtime.device,
        cache=runtime.cache,
        encoder=None if encoder == DEFAULT_ENCODER else encoder,  # the built-in encoder is in no folder
        offline=runtime.offline,
        precision=runtime.precision,
    )
    own = grounder.fingerprint
    if encoder == DEFAULT_ENCODER != own.get("encoder"):
        raise ConfigError(f"--encoder {encoder}: {folder} was trained with {own.get('encoder')!r}")
    if features.fps is not None and features.fps != own.get("fps"):
        rate = f"{own['fps']} features per second" if "fps" in own else "external features of unknown rate"
        raise ConfigError(f"--fps {features.fps:g}: {folder} was trained on {rate}")
    _require_text_encoder(features.text_encoder, grounder, str(folder), offline=runtime.offline)
    joint = isinstance(grounder.predictor, MKTNPredictor) and grounder.predictor.network.config.joint
    if features.joint not in (None, joint):
        trained = "with" if joint else "without"
        raise ConfigError(
            f"--{'joint' if features.joint else 'no-joint'}: {folder} was trained {trained} a shared space"
        )
    return grounder


def external_fingerprint(features: FeaturePlaces, videos: Sequence[Path]) -> Settings:
    """Return how features made elsewhere were made, from the first that belong to one of the videos.

    Args:
        features: their folder, or an HDF5 file; several, of a stream each.
        videos: video files, which need not exist, and folders of videos.

    Raises:
        FeatureError: if there are none, or they cannot be read.
    """
    streams = parse_streams(features)
    index = open_index(streams)
    for path in videos:
        found = find_videos([path], lambda _: None) if path.is_dir() else [VideoFile(path, Path(path.name))]
        for video in found:
            name = video.name.as_posix()
            match = index.find([name, without_suffix(name, VIDEO_SUFFIXES), video.name.stem])
            if match is not None and match.path is not None:
                return match.read().fingerprint
    raise FeatureError(f"{', '.join(str(stream.folder) for stream in streams)}: no features of any of the videos")


def zero_shot_encoder(features: FeatureOptions) -> str:
    """Return the id of the encoder that answers without training."""
    return features.encoder or DEFAULT_PRETRAINED


def load_zero_shot(features: FeatureOptions, runtime: RuntimeOptions, fingerprint: Settings | None = None) -> Grounder:
    """Load a pretrained encoder that answers without training.

    Args:
        features: the encoder, or the text encoder whose space features made elsewhere share.
        runtime: device, cache and network access.
        fingerprint: of features at hand; None if videos are to be read.

    Raises:
        ConfigError: if there is no such encoder or device, or the given text encoder is not the encoder's own.
    """
    if fingerprint is not None and fingerprint["encoder"] == EXTERNAL:
        if features.text_encoder is None:
            raise ConfigError(
                "an answer without training from features made elsewhere needs the text encoder whose space they share:"
                " give it with --text-encoder"
            )
        return Grounder.zero_shot_features(
            features.text_encoder,
            fingerprint,
            device=runtime.device,
            cache=runtime.cache,
            offline=runtime.offline,
        )
    if fingerprint is not None and features.encoder is None:
        features = replace(features, encoder=str(fingerprint["encoder"]))
    grounder = Grounder.zero_shot(
        zero_shot_encoder(features),
        fps=ExtractionSettings.fps if features.fps is None else features.fps,
        device=runtime.device,
        cache=runtime.cache,
        offline=runtime.offline,
        precision=runtime.precision,
    )
    _require_text_encoder(features.text_encoder, grounder, "an answer without training", offline=runtime.offline)
    return grounder


def _require_text_encoder(wanted: str | None, grounder: Grounder, owner: str, *, offline: bool) -> None:
    """Raise ConfigError, naming both, if the text encoder is not the wanted one."""
    if wanted is None:
        return
    predictor = grounder.predictor
    own = predictor.text_encoder.id if isinstance(predictor, MKTNPredictor) else OWN_TEXT_TOWER
    if own not in _text_encoder_ids(wanted, offline=offline) and wanted != own.partition("@")[0]:
        raise ConfigError(f"--text-encoder {wanted}: {owner} has {own!r}")


def _text_encoder_ids(wanted: str, *, offline: bool) -> Iterator[str]:
    """Yield the ids by which a model may record that text encoder. Nothing is downloaded."""
    yield wanted
    yield full_name(wanted)
    kind, _, file = wanted.partition(":")
    if kind == WordVectors.kind:
        yield f"{kind}:{Path(file).name}"
    elif Path(wanted).expanduser().is_dir():
        from mttsg_core.encoders.hf_files import find_files

        yield find_files(wanted, "text encoder", offline=offline).id
