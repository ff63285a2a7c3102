"""`mttsg compare`: what is named, the forms of the table, and figures that were published."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from mttsg_cli.systems import read_systems
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation.metrics import RELEVANCE
from tests.conftest import SHARED, Mttsg
from tests.helpers.report_pages import HOSTILE, PageReader
from tests.helpers.tiny import write_rows

QVHIGHLIGHTS = SHARED / "annotations" / "qvhighlights"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two queries of each of three videos; beside it `ours*.jsonl` of two seeds, and `theirs.jsonl` with a miss."""
    folder = tmp_path / "data"
    rows = [
        {"video": f"v{n // 2}", "query": f"sentence {n}", "start": n, "end": n + 10, "duration": 30, "id": f"q{n}"}
        for n in range(6)
    ]
    write_rows(folder / "test.jsonl", rows)
    for name, length, answered in (("ours1", 9, 6), ("ours2", 8, 6), ("theirs", 5, 5)):
        answers = [{"id": f"q{n}", "moments": [[n, n + length, 0.9]]} for n in range(answered)]
        write_rows(tmp_path / f"{name}.jsonl", answers)
    monkeypatch.chdir(tmp_path)
    return folder


def markdown_rows(text: str) -> list[list[str]]:
    """Return the cells of all tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_table(data: Path, mttsg: Mttsg) -> None:
    ran = mttsg("compare", data, "ours=ours1.jsonl,ours2.jsonl", "theirs.jsonl", "--at", "1", "--no-map")
    assert ran.code == 0, ran.err
    assert "test: 6 queries of 3 videos" in ran.out
    assert "2 seeds" in ran.out and "±7.07" in ran.out
    assert "Difference to ours in points" in ran.out
    assert "mAP" not in ran.out
    assert "theirs: R@1,IoU=0.5 better on 0 queries, worse on 1, equal on 5" in ran.out
    assert "theirs: 1 of 6 queries without an answer" in " ".join(ran.out.split())
    assert "warning: theirs: 1 of 6 queries without a prediction, counted as missed" in ran.err


def test_every_form_has_the_same_figures(data: Path, mttsg: Mttsg, tmp_path: Path) -> None:
    words = ("compare", data, "ours=ours*.jsonl", "their_s=theirs.jsonl", "--at", "1", "--quiet")
    found = json.loads(mttsg(*words, "--json").out)
    assert [system["name"] for system in found["systems"]] == ["ours", "their_s"]
    ours, theirs = found["systems"]
    assert (ours["mIoU"], ours["spread"]["mIoU"]) == pytest.approx((85, 50**0.5))
    assert theirs["missed"] == [1]
    markdown = mttsg(*words, "--format", "md", "--decimals", "1").out
    header, _, own, other = markdown_rows(markdown)[:4]
    assert own[header.index("mIoU")] == "85.0 ± 7.1"
    assert other[header.index("mIoU")] == f"{theirs['mIoU']:.1f}"
    assert (header[1:3], other[1:3]) == (["seeds", "missed"], ["1", "1"])
    difference = theirs["against_first"]["mIoU"]
    assert f"{difference['difference']:+.1f} (".replace("-", "−") in markdown
    latex = mttsg(*words, "--format", "latex").out
    assert r"85.00 $\pm$ 7.07" in latex and r"their\_s" in latex and latex.count(r"\toprule") == 2
    lines = list(csv.DictReader(io.StringIO(mttsg(*words, "--format", "csv").out)))
    row = next(line for line in lines if (line["system"], line["metric"]) == ("their_s", "mIoU"))
    assert float(row["mean"]) == theirs["mIoU"]
    assert float(row["difference"]) == difference["difference"]
    assert [float(row["difference_low"]), float(row["difference_high"])] == difference["interval"]
    for name, start in (("t.md", "| |"), ("t.tex", "%"), ("t.csv", "system,"), ("t.json", "{"), ("t.txt", "test: 6")):
        assert mttsg(*words, "--out", tmp_path / name).code == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    ran = mttsg(*words, "--out", tmp_path / "t.md")
    assert (ran.code, ran.errors) == (2, [f"error: {tmp_path}/t.md: exists already; use --overwrite"])


def test_the_page(data: Path, mttsg: Mttsg, tmp_path: Path) -> None:
    for number, sentence in enumerate(HOSTILE[:3]):
        rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
        rows[number]["query"] = sentence
        write_rows(data / "test.jsonl", rows)
    page = tmp_path / "page.html"
    ran = mttsg("compare", data, "<b>ours=ours1.jsonl,ours2.jsonl", "theirs.jsonl", "--html", page)
    assert ran.code == 0, ran.err
    read = PageReader(page.read_text(encoding="utf-8"))
    text = " ".join("".join(read.text).split())
    assert not read.handlers and "script" not in read.tags
    for said in (
        *("Difference to <b>ours", "Lost by theirs (6)", "by IoU threshold", "moment length", "moment position"),
        *("sentence length", "Data folder: data, rows sha256:", "Command: mttsg compare data", "IoU 0.85 → 0.50"),
        "theirs: no prediction.",
    ):
        assert said in text, said
    assert str(tmp_path) not in text
    assert read.tags.count("article") == 6


def test_charts(data: Path, mttsg: Mttsg, tmp_path: Path) -> None:
    for words in (("compare", data, "ours1.jsonl"), ("evaluate", data, "--predictions", "theirs.jsonl")):
        folder = tmp_path / f"{words[0]}d"
        assert mttsg(*words, "--charts", folder, "--quiet").code == 0
        suffixes = sorted(path.suffix for path in folder.glob("*recall*"))
        assert set(suffixes) == {".csv", ".pdf", ".svg"}
        ran = mttsg(*words, "--charts", folder, "--quiet")
        assert (ran.code, len(ran.errors)) == (2, 1)
        assert "exists already" in ran.errors[0]


def test_words(data: Path, tmp_path: Path) -> None:
    (tmp_path / "a=b,c.jsonl").write_text("")
    assert read_systems(["a=b,c.jsonl", "ours1.jsonl"]) == {
        "a=b,c": [Path("a=b,c.jsonl")],
        "ours1": [Path("ours1.jsonl")],
    }
    assert read_systems(["x=a=b,c.jsonl"]) == {"x": [Path("a=b,c.jsonl")]}
    assert read_systems(["ours=3,last,ada/model"]) == {"ours": [Path("3"), Path("last"), Path("ada/model")]}
    assert read_systems(["ours?.jsonl"]) == {"ours?.jsonl": [Path("ours1.jsonl"), Path("ours2.jsonl")]}
    for word, kind in (("=a", ConfigError), ("a=", ConfigError), (",", ConfigError)):
        with pytest.raises(kind):
            read_systems([word])
    with pytest.raises(DataError, match=r"ours3\.jsonl: no such file; did you mean"):
        read_systems(["x=ours1.jsonl,ours3.jsonl"])
    with pytest.raises(DataError, match="no file matches"):
        read_systems(["x=absent/*"])
    with pytest.raises(ConfigError, match="two have this name"):
        read_systems(["ours1=theirs.jsonl", "ours1=ours1.jsonl"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["7"], "no run 7"),
        (["absent"], "absent"),
        (["a=ours1.jsonl,ours1.jsonl"], "a: ours1.jsonl is given twice"),
        (["ours1.jsonl", "--format", "html"], "--format html: not one of table, md, latex, csv, json"),
        (["ours1.jsonl", "--json", "--format", "md"], "give one of them"),
        (["ours1.jsonl", "--out", "x", "--html", "x"], "same file"),
    ],
)
def test_what_cannot_be_compared_is_one_line(data: Path, mttsg: Mttsg, words: list[str], said: str) -> None:
    ran = mttsg("compare", data, *words)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert said in ran.errors[0]


@pytest.mark.data
@pytest.mark.skipif(not QVHIGHLIGHTS.is_dir(), reason="../shared/annotations is not at hand")
def test_the_published_figures_of_moment_detr(mttsg: Mttsg) -> None:
    file = QVHIGHLIGHTS / "moment_detr_val_predictions.jsonl"
    published = json.loads((QVHIGHLIGHTS / "moment_detr_val_metrics.json").read_text())["brief"]
    names = {"R@1,IoU=0.5": "full-R1@0.5", "R@1,IoU=0.7": "full-R1@0.7", "mAP": "full-mAP", "mAP@0.5": "full-mAP@0.5"}
    names |= {"mAP@0.75": "full-mAP@0.75", "mAP-short": "short-mAP", "mAP-middle": "middle-mAP", "mAP-long": "long-mAP"}
    names = {ours: f"MR-{theirs}" for ours, theirs in names.items()}
    names |= {f"HL-mAP-{level}": f"HL-min-{level}-mAP" for level in RELEVANCE}
    names |= {f"HL-HIT@1-{level}": f"HL-min-{level}-Hit1" for level in RELEVANCE}
    words = ("compare", QVHIGHLIGHTS, f"Moment-DETR={file}", "--config", "recipe:qvhighlights", "-q")
    found = json.loads(mttsg(*words, "--json").out)
    [system] = found["systems"]
    header, _, row = markdown_rows(mttsg(*words, "--format", "md").out)
    evaluated = json.loads(mttsg("evaluate", *words[1:2], "--predictions", file, *words[3:], "--json").out)
    for ours, theirs in names.items():
        assert round(system[ours], 2) == round(evaluated[ours], 2) == published[theirs], ours
        assert row[header.index(ours)] == f"{published[theirs]:.2f}", ours
    assert found["convention"]["data"].startswith("QVHighlights: val")


def test_figures_that_only_one_system_has(data: Path, mttsg: Mttsg, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    rated = [{**row, "relevant_clip_ids": [n], "saliency_scores": [[4, 1, 2]]} for n, row in enumerate(rows)]
    write_rows(data / "test.jsonl", rated)
    answers = [json.loads(line) for line in (tmp_path / "ours1.jsonl").read_text().splitlines()]
    scored = [{**row, "saliency": [float(clip == n) for clip in range(15)]} for n, row in enumerate(answers)]
    write_rows(tmp_path / "scored.jsonl", scored)
    page = tmp_path / "page.html"
    words = ("compare", data, "theirs.jsonl", "scored.jsonl", "--quiet")
    table, markdown = mttsg(*words, "--html", page), mttsg(*words, "--format", "md")
    assert (table.code, markdown.code) == (0, 0)
    header, _, theirs, ours, _, _, difference = markdown_rows(markdown.out)
    good = header.index("HL-mAP-VeryGood")
    assert (theirs[good], ours[good]) == ("–", "33.33")  # one of three annotators has a highlight, which is found
    assert difference[markdown_rows(markdown.out)[4].index("HL-mAP-VeryGood")] == "–"
    assert "HL-HIT@1" in table.out and "–" in table.out and "rated at least 2 (Fair)" in " ".join(table.out.split())
    assert "rated at least 2 (Fair)" in page.read_text(encoding="utf-8")
    found = json.loads(mttsg(*words, "--json").out)["systems"]
    assert "HL-mAP-Fair" not in found[0] and found[1]["HL-HIT@1-VeryGood"] == 100
    assert "HL-" not in mttsg(*words, "--no-highlights").out


FORMS = {
    "castella.json": json.dumps(
        [
            {
                "yid": "v",
                "duration": "0:30",
                "moments": [{"local_caption": "a dog barks", "timestamps": [["0:01", "0:04"], ["0:20", "0:24"]]}],
            }
        ]
    ),
    "charades_sta_test.txt": "v 1.0 4.0##a dog barks\n",
    "qvhighlights.jsonl": json.dumps(
        {"qid": 7, "vid": "v", "query": "a dog barks", "duration": 30, "relevant_windows": [[1, 4], [20, 24]]}
    ),
    "val.json": json.dumps({"v": {"duration": 30, "timestamps": [[1, 4]], "sentences": ["a dog barks"]}}),
    "rows.csv": "video,query,start,end\nv,a dog barks,1,4\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_rows_of_every_form_are_compared(tmp_path: Path, mttsg: Mttsg, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_text(FORMS[name])
    split = re.sub(r"^charades_sta_", "", Path(name).stem)
    right = write_rows(tmp_path / "right.jsonl", [{"video": "v", "query": "a dog barks", "moments": [[1, 4, 0.9]]}])
    wrong = write_rows(tmp_path / "wrong.jsonl", [{"video": "v", "query": "a dog barks", "moments": [[8, 9, 0.9]]}])
    ran = mttsg("compare", folder, right, wrong, "--split", split, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert [system["R@1,IoU=0.7"] for system in found["systems"]] == [100, 0]
    assert found["systems"][1]["against_first"]["R@1,IoU=0.7"]["difference"] == -100
