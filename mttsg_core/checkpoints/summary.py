"""What there is to say of a model in one line: its name, data, videos, date and encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mttsg_core.checkpoints.files import CONFIG, PROVENANCE, REPORT, read_json_if_any
from mttsg_core.checkpoints.registry import run_number
from mttsg_core.config import NetworkConfig
from mttsg_core.utils.text import count


@dataclass(frozen=True)
class ModelSummary:
    """A model as it is named in messages, on pages and in lists. What is not recorded is None.

    Attributes:
        folder: of the model.
        number: of the run, for a numbered one.
        data: name of the data folder that it was trained on.
        videos, sentences: that it learned from.
        validation_sentences: that it was validated on.
        date: of its training, YYYY-MM-DD.
        encoder, text_encoder: their ids.
        network: that finds the moments.
        metrics: figures on the validation split, in percent.
    """

    folder: Path
    number: int | None = None
    data: str | None = None
    videos: int | None = None
    sentences: int | None = None
    validation_sentences: int | None = None
    date: str | None = None
    encoder: str | None = None
    text_encoder: str | None = None
    network: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`run 3`, or the name of the folder."""
        return f"run {self.number}" if self.number is not None else self.folder.resolve().name

    @property
    def details(self) -> str:
        """All but the name, as far as it is known: data, videos, date, encoders, network."""
        encoder, text = (None if name is None else encoder_name(name) for name in (self.encoder, self.text_encoder))
        parts = [
            self.data,
            None if self.videos is None else count(self.videos, "video"),
            self.date,
            None if encoder is None else f"encoder {encoder}",
            None if text is None else f"sentences {text}",
            None if self.network in (None, NetworkConfig.network) else f"network {self.network}",
        ]
        return ", ".join(part for part in parts if part)

    def describe(self, name: str | None = None) -> str:
        """Return the model in one line, under its own name or another.

        >>> ModelSummary(Path("runs/model"), data="corpus", videos=32, encoder="classic").describe()
        'model (corpus, 32 videos, encoder classic)'
        """
        details = self.details
        return f"{name or self.name} ({details})" if details else name or self.name

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("folder", "metrics")}
        return {"folder": str(self.folder), **values, "metrics": dict(self.metrics)}


def summarise(folder: Path) -> ModelSummary:
    """Return what the files of a model folder tell. Files that are missing or damaged tell nothing."""
    config, report, record = (read_json_if_any(folder / name) for name in (CONFIG, REPORT, PROVENANCE))
    features, network = config.get("features"), config.get("network")
    metrics = report.get("validation")
    return ModelSummary(
        folder,
        run_number(folder),
        data=_text(record.get("data")),
        videos=_number(record.get("videos", report.get("videos"))),
        sentences=_number(record.get("sentences", report.get("pairs"))),
        validation_sentences=_number(report.get("validation_pairs")),
        date=_date(record.get("started")) or _modified(folder / REPORT),
        encoder=_text(features.get("encoder")) if isinstance(features, dict) else None,
        text_encoder=_text(config.get("text_encoder")),
        network=_text(network.get("network", NetworkConfig.network)) if isinstance(network, dict) else None,
        metrics={name: value for name, value in metrics.items() if isinstance(value, int | float)}
        if isinstance(metrics, dict)
        else {},
    )


def encoder_name(encoder_id: str) -> str:
    """Return the name of an encoder without what fixes its content.

    >>> encoder_name("laion/CLIP-ViT-B-32@ab12"), encoder_name("clip#0f3e"), encoder_name("glove:glove.6B.txt")
    ('laion/CLIP-ViT-B-32', 'clip', 'glove:glove.6B.txt')
    """
    return encoder_id.partition("@")[0].partition("#")[0]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _date(value: object) -> str | None:
    try:
        return datetime.fromisoformat(str(value)).date().isoformat()
    except ValueError:
        return None


def _modified(path: Path) -> str | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).date().isoformat()
    except OSError:
        return None
