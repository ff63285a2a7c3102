"""Files of predictions, as this program and others read them: the forms that `read_predictions` takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.config import refuse_unknown
from mttsg_core.data.pairs import Pair
from mttsg_core.moments import Moment
from mttsg_core.utils.json_lines import write_json_lines

OWN_FORM = "jsonl"


@dataclass(frozen=True)
class PredictionForm:
    """A form of predictions.

    Attributes:
        record: makes the JSON object of a pair, its moments and the scores of its video's clips; None leaves it out.
        has_saliency: whether its readers expect scores of clips.
        has_misses: whether it has rows for queries without an answer.
    """

    record: Callable[[Pair, Sequence[Moment], Sequence[float]], dict[str, object] | None]
    has_saliency: bool = False
    has_misses: bool = True


_DECIMALS = 6  # of the times of a submission
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def write_predictions(
    path: str | Path,
    pairs: Iterable[Pair],
    moments: Iterable[Sequence[Moment]],
    saliency: Sequence[Sequence[float]] = (),
    form: str = OWN_FORM,
) -> None:
    """Write the ranked moments of each pair, all of them or none.

    Numbers are not rounded, so the file scores the same as the moments; those of QVHighlights have six decimals.

    Args:
        path: of the file.
        pairs: the queries.
        moments: ranked moments of each pair. The form of QVHighlights leaves out pairs without any, as its evaluator
            cannot read them.
        saliency: scores of the clips of 2 s of each pair's video; empty where there are none, or as a whole.
        form: a key of `PREDICTION_FORMS`.

    Raises:
        ConfigError: if there is no such form.
        DataError: if the file cannot be written.
    """
    write_json_lines(Path(path), prediction_records(pairs, moments, saliency, form))


def prediction_records(
    pairs: Iterable[Pair],
    moments: Iterable[Sequence[Moment]],
    saliency: Sequence[Sequence[float]] = (),
    form: str = OWN_FORM,
) -> Iterator[dict[str, object]]:
    """Yield the JSON objects that `write_predictions` writes. Arguments and errors are the same."""
    record = prediction_form(form).record
    pairs = list(pairs)
    for row in zip(pairs, moments, saliency or [()] * len(pairs), strict=True):
        made = record(*row)
        if made is not None:
            yield made


def prediction_form(name: str) -> PredictionForm:
    """Return a form by its name. Raises ConfigError if there is no such form."""
    refuse_unknown([name], PREDICTION_FORMS, "format")
    return PREDICTION_FORMS[name]


def _own_record(pair: Pair, ranked: Sequence[Moment], saliency: Sequence[float]) -> dict[str, object]:
    moments = [[float(value) for value in moment] for moment in ranked]
    record: dict[str, object] = {"id": pair.id, "video": pair.video, "query": pair.query, "moments": moments}
    return {**record, "saliency": [*map(float, saliency)]} if len(saliency) else record


def _qvhighlights_record(pair: Pair, ranked: Sequence[Moment], saliency: Sequence[float]) -> dict[str, object] | None:
    """Return the row of a submission to QVHighlights; None without a moment. Ids are numbers there.

    Its evaluator compares overlaps as they are in binary, so that 59.99999999999999 s in place of 60 s may miss.
    """
    if not ranked:
        return None
    record: dict[str, object] = {
        "qid": int(pair.id) if _NUMBER.fullmatch(pair.id) else pair.id,
        "query": pair.query,
        "vid": pair.video,
        "pred_relevant_windows": [
            [round(start, _DECIMALS), round(end, _DECIMALS), float(score)] for start, end, score in ranked
        ],
    }
    return {**record, "pred_saliency_scores": [*map(float, saliency)]} if len(saliency) else record


PREDICTION_FORMS: Mapping[str, PredictionForm] = {
    OWN_FORM: PredictionForm(_own_record),
    "qvhighlights": PredictionForm(_qvhighlights_record, has_saliency=True, has_misses=False),
}
