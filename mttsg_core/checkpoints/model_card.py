"""The model card: the page of a model on the Hugging Face Hub, with what one must know to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from mttsg_core.checkpoints.checkpoint import CONFIG, DECLARED, REPORT, damaged_model, encoder_id, read_json
from mttsg_core.config import NetworkConfig
from mttsg_core.features.store import EXTERNAL
from mttsg_core.utils.atomic import write_atomically

CARD = "README.md"
_SHOWN = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.3", "R@5,IoU=0.5", "R@5,IoU=0.7", "mIoU")
# The header is for the hub, which knows `unknown` as a licence.
_CARD = """\
---
license: unknown  # fill in: apache-2.0, cc-by-4.0, ...
library_name: mttsg
tags:
- temporal-sentence-grounding
- moment-retrieval
- video
{base}---

# {title}

Given a video and a sentence, this model returns the start and the end of the moment that the sentence describes.
It was trained with `mttsg`.

## Use

{use}

## Training data

{data}

*Please fill in what the videos and sentences are and where they come from.*

## Figures

{figures}

## Settings

{settings}

Every setting is in `config.json`.

## Licence

*Please fill in, here and in the field `license` of the header, what others may do with this model.*
"""
_USE = """\
```sh
mttsg ground video.mp4 "person opens door" --model {argument}
```

```python
from mttsg_core import Grounder

[moments] = Grounder.load({literal}).ground("video.mp4", ["person opens door"], top=3)
```"""
_USE_ELSEWHERE = """\
It expects external features, one file per video:

```sh
mttsg ground video.mp4 "person opens door" --model {argument} --features FEATURES
```"""
_ABOUT_FIGURES = """\
In percent, on the validation split, by which the epoch was chosen; each sentence is asked by itself. R@n,IoU=m is the
share of sentences for which one of the best n answers has IoU >= m. Intervals are 95 % bootstraps by video."""


def write_card(folder: Path, name: str | None = None, *, overwrite: bool = False) -> Path:
    """Write the card of a finished model folder; an existing one, which may be edited, is kept unless told otherwise.

    Args:
        folder: written by `mttsg train`.
        name: what others will call the model, such as `user/name`; None uses the name of the folder.
        overwrite: replace an existing card.

    Raises:
        ModelError: if the folder is incomplete or damaged.
    """
    path = folder / CARD
    if overwrite or not path.exists():
        config, report = read_json(folder / CONFIG), read_json(folder / REPORT)
        try:
            text = model_card(config, report, name or folder.resolve().name)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise damaged_model(folder, repr(error)) from error
        write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
    return path


def model_card(config: Mapping[str, Any], report: Mapping[str, Any], name: str) -> str:
    """Return the card in Markdown, with the header that the hub reads.

    Args:
        config: content of the `config.json` of the model folder.
        report: content of its `report.json`.
        name: of the model: a folder, or `user/name` on the hub.
    """
    use = _USE_ELSEWHERE if encoder_id(config) == EXTERNAL else _USE
    return _CARD.format(
        title=name.rpartition("/")[2],
        base=_base_models(config),
        use=use.format(argument=quote(name), literal=json.dumps(name)),
        data=_table(("training", ""), _data(report)),
        figures=_figures(report["validation"], report.get("intervals", {})),
        settings=_table(("setting", ""), _settings(config, report)),
    )


def _base_models(config: Mapping[str, Any]) -> str:
    """List the pretrained models of the hub that it builds on: their ids are `NAME@COMMIT`."""
    ids = dict.fromkeys((encoder_id(config), str(config["text_encoder"])))
    names = [name for name, _, commit in (one.partition("@") for one in ids) if commit]
    return "".join(["base_model:\n", *(f"- {name}\n" for name in names)]) if names else ""


def _data(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("videos", f"{report['videos']:,}"), ("sentences", f"{report['pairs']:,}")]
    held_out = report.get("validation_pairs", 0)
    return [*rows, ("sentences for validation", f"{held_out:,}")] if held_out else rows


def _figures(metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    if not metrics:
        return "None: there was no validation split."
    rows = []
    for name in (name for name in _SHOWN if name in metrics):
        ends = "–".join(f"{end:.1f}" for end in intervals.get(name, ()))
        rows.append((name, f"{metrics[name]:.1f}", ends))
    return f"{_ABOUT_FIGURES}\n\n{_table(('figure', 'value', 'interval'), rows)}"


def _settings(config: Mapping[str, Any], report: Mapping[str, Any]) -> list[tuple[str, str]]:
    features: Mapping[str, Any] = config["features"]
    off = [part for part in NetworkConfig.SWITCHES if config["network"].get(part) is False]
    return [
        ("video encoder", str(features.get("encoder"))),
        *((f"features: {key}", str(value)) for key, value in features.items() if key != "encoder"),
        *((f"features made elsewhere: {key}", str(value)) for key, value in config.get(DECLARED, {}).items()),
        ("text encoder", config["text_encoder"]),
        ("network", str(config["network"].get("network", NetworkConfig.network))),
        ("parameters", f"{report['parameters']:,}"),
        ("parts switched off", ", ".join(off) or "none"),
        ("epochs", f"{report['epochs']}, epoch {report['best_epoch']} kept"),
        ("training time", f"{report['seconds'] / 60:.0f} min"),
        ("version of mttsg", config["mttsg"]),
    ]


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    """Format a table in Markdown, with bars inside cells escaped."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
