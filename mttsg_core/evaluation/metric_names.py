"""Names of metrics and what is said of them; loads nothing, so that commands can import it at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def metric_kinds(names: Iterable[str]) -> dict[str, list[str]]:
    """Divide names of metrics into kinds that are shown apart: "Recall" (with mIoU), "mAP" and "Highlights".

    >>> metric_kinds(["R@1,IoU=0.5", "mIoU", "mAP@0.5", "HL-mAP-Good"])
    {'Recall': ['R@1,IoU=0.5', 'mIoU'], 'mAP': ['mAP@0.5'], 'Highlights': ['HL-mAP-Good']}
    """
    kinds: dict[str, list[str]] = {"Recall": [], "mAP": [], "Highlights": []}
    for name in names:
        kind = "mAP" if name.startswith("mAP") else "Highlights" if name.startswith("HL-") else "Recall"
        kinds[kind].append(name)
    return {kind: own for kind, own in kinds.items() if own}


def heading_lines(name: str) -> tuple[str, str]:
    """Return a metric's name in two short lines, the second without its sign: an IoU, a length, or a level.

    >>> heading_lines("R@1,IoU=0.5"), heading_lines("mAP@0.75"), heading_lines("HL-HIT@1-Good"), heading_lines("mIoU")
    (('R@1', 'IoU=0.5'), ('mAP', '@0.75'), ('HL-HIT@1', 'Good'), ('mIoU', ''))
    """
    first, comma, level = name.partition(",")
    if comma:
        return first, level
    first, dash, level = name.rpartition("-")
    if dash:
        return first, level
    first, at, level = name.partition("@")
    return first, at + level


def convention_sentences(found: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return what the metrics of a report mean, in sentences for readers.

    Args:
        found: as `conventions` and `evaluator.run_conventions` return it.
        names: of the metrics that are shown; what concerns others is left out.
    """
    kinds = metric_kinds(names)
    return [
        *([f"{found['data']}."] if "data" in found else []),
        f"Percent; a hit is {found['hit']}, in seconds; NMS: {found['nms']}.",
        f"A query without an answer {found['no_prediction']}.",
        f"Of several true moments {found['several_true_moments']}.",
        *([f"mAP: {found['mAP']}."] if "mAP" in kinds else []),
        *([f"Highlights: {found['highlights']}."] if "Highlights" in kinds else []),
        *([f"Long videos: {found['windows']}."] if "windows" in found else []),
    ]
