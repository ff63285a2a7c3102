"""The page of a training run: it shows every loss term and the reliability of the scores."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mttsg_core.checkpoints.checkpoint import REPORT, write_json
from mttsg_core.errors import ModelError
from mttsg_core.report import render_training_page
from mttsg_core.report.charts import draw
from mttsg_core.report.plots import training_plots
from mttsg_core.training.trainer import LOG, EpochDone

BINS = [{"score": 0.1, "right": 0.0, "answers": 9}, {"score": 0.9, "right": 1.0, "answers": 4}]


def _folder(folder: Path, *, validation: bool = True) -> Path:
    folder.mkdir()
    metrics = {"R@1,IoU=0.3": 60.0, "R@1,IoU=0.5": 50.0, "R@1,IoU=0.7": 40.0, "mIoU": 45.0} if validation else {}
    losses = {"span": 4.0, "presence": 0.7, "phi": 0.4, "phi_same": 0.6, "total": 5.0}
    events = [EpochDone(number, losses, metrics, True, 1e-3, 1.0, 2.0) for number in (1, 2, 3)]
    (folder / LOG).write_text("".join(json.dumps(asdict(event)) + "\n" for event in events))
    measured = {"auc": 97.25, "error": 12.5, "bins": BINS}
    report = {"pairs": 10, "videos": 4, "epochs": 3, "parameters": 2_500_000, "seconds": 6.0, "best_epoch": 2}
    write_json(
        folder / REPORT, {**report, "confidence": {"raw": measured, "calibrated": measured} if validation else {}}
    )
    return folder


def test_the_page_has_a_curve_for_every_term_and_a_dot_for_every_bin(tmp_path: Path) -> None:
    text = render_training_page(_folder(tmp_path / "<model>"))
    assert "Training of &lt;model&gt;" in text
    assert "97.2% of all pairs" in text
    plots = [ElementTree.fromstring(part.split("</svg>")[0] + "</svg>") for part in _parts(text, '<svg class="plot"')]
    titles = [title.text for plot in plots for title in plot.iter("title")]
    assert {"span", "presence", "phi", "phi_same", "R@1,IoU=0.5", "mIoU"} <= set(titles)
    together = [{title.text for title in plot.iter("title")} for plot in plots]
    assert any({"phi", "phi_same"} <= names and "span" not in names for names in together), "values, not loss terms"
    assert titles.count("4 predictions with score 0.90: 100% correct") == 2
    [curve] = [line for plot in plots for line in plot.iter("polyline") if line.findtext("title") == "R@1,IoU=0.5"]
    assert len(curve.attrib["points"].split()) == 3


def test_without_validation_there_is_no_reliability(tmp_path: Path) -> None:
    text = render_training_page(_folder(tmp_path / "model", validation=False))
    assert "Reliability" not in text
    assert "presence" in text


def test_a_folder_without_a_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        render_training_page(tmp_path)


def test_every_loss_term_has_a_colour_of_its_own() -> None:
    names = [f"term{number}" for number in range(25)]
    [plot] = training_plots([{"metrics": {}, "losses": {"total": 1.0, **dict.fromkeys(names, 1.0)}}])
    styles = [line.style for line in draw(plot).lines]
    assert len(set(styles)) == 25
    assert len({style.split()[1] for style in styles[:9]}) == 9


def _parts(text: str, start: str) -> list[str]:
    return [start + part for part in text.split(start)[1:]]
