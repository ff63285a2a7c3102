"""How a sentence encoder in the layout of `sentence-transformers` pools its tokens into one vector for a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from torch import Tensor
from torch.nn.functional import normalize

from mttsg_core.errors import ConfigError, error_summary

Pooling = Literal["mean", "cls", "max", "lasttoken"]

_MODULES = "modules.json"
_KINDS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}
_UNDERSTOOD = ("Transformer", "Pooling", "Normalize")  # the last part of a module's type


def read_pooling(folder: Path) -> Pooling | None:
    """Return how a sentence encoder pools its tokens; None for a model that is not one.

    Raises:
        ConfigError: if its pooling is damaged, or of a kind that is not known here.
    """
    if not (folder / _MODULES).is_file():
        return None
    try:
        modules = json.loads((folder / _MODULES).read_text(encoding="utf-8"))
        kinds = {str(module["type"]).rpartition(".")[2]: Path(str(module["path"])) for module in modules}
        unknown = sorted(set(kinds).difference(_UNDERSTOOD))
        if unknown or "Pooling" not in kinds:
            return None  # its embedding is more than a pooled vector, or not pooled at all: its words can be used
        path = folder / kinds["Pooling"].name / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        chosen = [kind for name, kind in _KINDS.items() if config.get(name)]
        others = [name for name in config if name.startswith("pooling_mode_") and name not in _KINDS and config[name]]
        modes = config.get("pooling_mode")  # in recent versions a name in place of switches
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{folder}: damaged sentence encoder ({error_summary(error)})") from error
    if isinstance(modes, str) and modes in _KINDS.values():
        chosen = [kind for kind in _KINDS.values() if kind == modes or kind in chosen]
    elif modes is not None:
        others.append(str(modes))
    if len(chosen) != 1 or others:
        given = ", ".join([*chosen, *others]) or "none"
        raise ConfigError(f"{folder}: its pooling of tokens is not supported ({given})")
    return chosen[0]


def pool_tokens(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool token states (N, L, D) with mask (N, L), True at tokens, into sentences of length 1, (N, D)."""
    valid = mask[..., None]
    if pooling == "cls":
        first = mask.to(states.dtype).argmax(1)  # (N,)
        pooled = states[range(len(states)), first]
    elif pooling == "lasttoken":
        last = mask.shape[1] - 1 - mask.flip(1).to(states.dtype).argmax(1)  # (N,)
        pooled = states[range(len(states)), last]
    elif pooling == "max":
        pooled = states.masked_fill(~valid, -float("inf")).amax(1)
    else:
        pooled = (states * valid).sum(1) / valid.sum(1).clamp_min(1)
    return normalize(pooled, dim=-1)
