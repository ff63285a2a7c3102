"""Which encoders are used where none is named: pretrained ones if they are on this computer or can be had."""

from __future__ import annotations

import logging

from mttsg_core.encoders import DEFAULT_ENCODER, DEFAULT_PRETRAINED, DEFAULT_SENTENCES, DEFAULT_TEXT_ENCODER
from mttsg_core.encoders.known import KNOWN
from mttsg_core.errors import ConfigError

_log = logging.getLogger("mttsg")


def default_video_encoder(*, offline: bool = False) -> str:
    """Return the pretrained video encoder, downloaded if necessary, or the built-in one after a logged warning.

    Args:
        offline: never use the network.
    """
    use = "for simple drawn scenes; 'mttsg setup' gets one for real videos"
    return _pretrained_or(DEFAULT_ENCODER, DEFAULT_PRETRAINED, "encoder", use, offline=offline)


def default_sentence_encoder(*, offline: bool = False) -> str:
    """Return the pretrained sentence encoder, downloaded if necessary, or the built-in one after a logged warning.

    Args:
        offline: never use the network.
    """
    use = "knows the words of the training only; 'mttsg setup' gets a better one"
    return _pretrained_or(DEFAULT_TEXT_ENCODER, DEFAULT_SENTENCES, "text encoder", use, offline=offline)


def _pretrained_or(built_in: str, pretrained: str, what: str, use: str, *, offline: bool) -> str:
    """Return the pretrained model, or the built-in one after a warning that says what it is of use for."""
    missing = _why_missing(pretrained, what, offline=offline)
    if missing is None:
        return pretrained
    _log.warning("%s %s (%s): %s", what, built_in, use, missing)
    return built_in


def _why_missing(name: str, what: str, *, offline: bool) -> str | None:
    """Return why a known model cannot be had, or None if it is on this computer now."""
    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.utils.hf_hub import hub_offers, is_offline

    try:
        find_files(name, what, offline=True)
    except ConfigError:
        pass
    else:
        return None
    repo = KNOWN[name].repo
    if offline or is_offline():
        return f"{repo} is not on this computer, and the network is not used"
    if not hub_offers(repo):
        return f"{repo} is not on this computer, and the Hugging Face Hub cannot be reached"
    try:
        find_files(name, what)
    except ConfigError as error:
        return str(error)
    return None
