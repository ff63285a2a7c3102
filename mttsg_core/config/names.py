"""Names of settings, options and formats: an unknown one is refused, with the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mttsg_core.config.compat import RENAMED
from mttsg_core.errors import ConfigError

_NEAR = 0.7  # similarity from which on a name is suggested, 0..1
_MAX_NAME = 100  # characters of an unknown name that are compared with the known ones
_MAX_SHOWN = 60  # characters of a value in a message
_MAX_LISTED = 12  # known names that are listed where none is near

# What other programs call our settings, and what earlier versions did.
_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **{old: new for names in RENAMED.values() for old, new in names.items()},
        **dict.fromkeys(("learning_rate", "learning-rate", "max_lr"), "lr"),
        **dict.fromkeys(("batch_size", "batch-size", "batch", "bs"), "batch_videos"),
        **dict.fromkeys(("k", "topk", "top_k", "top-k", "max_results"), "top"),
        **dict.fromkeys(("max_epochs", "num_epochs", "n_epochs"), "epochs"),
        **dict.fromkeys(("frame_rate", "sampling_rate"), "fps"),
        **dict.fromkeys(("output", "output_dir", "output-dir"), "out"),
        **dict.fromkeys(("num_workers", "num-workers", "jobs"), "workers"),
        **dict.fromkeys(("2d-tan", "2dtan", "mmn"), "proposal_map"),
        **dict.fromkeys(("detr", "moment-detr", "qd-detr"), "query_decoder"),
        **dict.fromkeys(("vslnet", "span-predictor"), "span"),
    }
)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelled or foreign one probably stands for, or None if none is near.

    Case, and whether words are joined by `-` or `_`, do not matter.

    >>> nearest("epoch", ["epochs", "lr"]), nearest("Jsn", ["json", "table"]), nearest("xml", ["json", "table"])
    ('epochs', 'json', None)
    >>> nearest("learning_rate", ["erase", "lr"]), nearest("batch-size", ["batch-videos"])
    ('lr', 'batch-videos')
    """
    by_form = {_form(other): other for other in known}
    by_form = {**{_form(old): by_form[new] for old, new in _SYNONYMS.items() if new in by_form}, **by_form}
    form = _form(name[:_MAX_NAME])
    if form in by_form:
        return by_form[form]
    matches = difflib.get_close_matches(form, by_form, n=1, cutoff=_NEAR)
    return by_form[matches[0]] if matches else None


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ConfigError for the first given name that is not known, with the one that was probably meant.

    Where none is near, the known names are listed, unless they are many.
    """
    known = list(known)
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else ""
            if not near and 0 < len(known) <= _MAX_LISTED:
                hint = f"; one of: {', '.join(known)}"
            raise ConfigError(f"unknown {what}: {shown(name)}{hint}")


def shown(value: object) -> str:
    """Return a value as messages show it, cut off after 60 characters."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _form(name: str) -> str:
    return name.casefold().replace("-", "_")
