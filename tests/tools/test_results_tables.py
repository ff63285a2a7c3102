"""Tables of results: those in the pages have the form that `mttsg compare` prints, and are made by it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import results_tables
from results_tables import PAGES, Block, blocks_of

from mttsg_cli.config_files import read_settings
from mttsg_cli.option_values import metric_config
from mttsg_core.data.clip_ratings import ClipRatings
from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.moments import Moment
from mttsg_core.report.comparison_tables import render_markdown
from tests.conftest import Mttsg
from tests.helpers.tiny import write_rows

NUMBER = re.compile(r"[+−]?\d+\.\d+")
OPTIONS = {"--at": "1,5", "--iou": "0.3,0.5,0.7"}  # with their defaults, where a table does not say
LENGTHS = {"mAP-short": (0.0, 8.0), "mAP-middle": (20.0, 45.0), "mAP-long": (0.0, 90.0)}
BLOCKS = [(page.name, block) for page in PAGES for block in blocks_of(page.read_text(encoding="utf-8"))]


def shape(text: str) -> list[str]:
    """Return the lines of the tables, and what is between them, without the figures; of the notes only the split."""
    *lines, notes = text.strip().splitlines()
    assert re.fullmatch(r"\S+: [\d,]+ quer(y|ies) of [\d,]+ videos?\. .*Percent; a hit is .*", notes)
    return [NUMBER.sub("0.00", line) for line in lines]


def form_of(block: Block) -> list[str]:
    """Return the shape of what `compare` prints for systems of these names, seeds and figures."""
    words = block.words
    recipe = read_settings(Path(words[words.index("--config") + 1])) if "--config" in words else {}
    defaults = {name: recipe.get(name[2:], value) for name, value in OPTIONS.items()}
    given = {name: words[words.index(name) + 1] if name in words else value for name, value in defaults.items()}
    config = metric_config(
        given["--at"],
        given["--iou"],
        strict="--strict-iou" in words,
        precision="--no-map" not in words,
        highlights="HL-" in block.table,
    )
    rows = [line.split("|")[1:-1] for line in block.table.split("\n\n")[0].splitlines()]
    header = [cell.strip() for cell in rows[0]]
    moments = tuple(span for name, span in LENGTHS.items() if name in header)
    pair = Pair("1", "v", "x", moments or ((0.0, 8.0),), 100.0, ratings=ClipRatings((0,), ((4,),)))
    systems = []
    for cells in rows[2:]:
        values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        missed = int(values.get("missed", "0").split(",")[0])
        saliency = [[1.0]] if values.get("HL-mAP-Fair", "–") != "–" else ()
        run = Evaluation("val", "predictions", [pair], [[Moment(0, 8)]], missed, config, saliency=saliency)
        systems.append(System(values[""], [run] * int(values.get("seeds", "1"))))
    return shape(render_markdown(ComparisonReport(systems, [100.0])))


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}-{number}" for number, (page, _) in enumerate(BLOCKS)])
def test_a_table_has_the_form_that_compare_prints(page: str, block: Block) -> None:
    assert shape(block.table) == form_of(block)


def test_the_readme_has_a_table_of_results_and_no_other() -> None:
    text = (PAGES[0]).read_text(encoding="utf-8")
    assert blocks_of(text)
    results = text.partition("\n## Results\n")[2].partition("\n## ")[0]
    assert "|" not in re.sub(r"<!-- results: .*?<!-- end of results -->", "", results, flags=re.DOTALL)


def test_they_are_what_the_command_prints(tmp_path: Path, mttsg: Mttsg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"q{n}", "video": "v", "query": "x", "start": n, "end": n + 9, "duration": 30} for n in range(3)]
    write_rows(tmp_path / "data" / "val.jsonl", rows)
    for name, length in (("a", 9), ("b1", 5), ("b2", 4)):
        answers = [{"id": f"q{n}", "moments": [[n, n + length]]} for n in range(3)]
        write_rows(tmp_path / f"{name}.jsonl", answers)
    words = ["compare", "data", "a.jsonl", "b & c=b1.jsonl,b2.jsonl", "--split", "val", "--format", "md"]
    command = " ".join(["mttsg", *(f'"{word}"' if " " in word else word for word in words)])
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n<!-- results: {command} -->\nold\n<!-- end of results -->\nafter | here\n", encoding="utf-8"
    )
    results_tables.main(["--data", str(tmp_path), str(page)])
    text = page.read_text(encoding="utf-8")
    [block] = blocks_of(text)
    assert block.table == mttsg(*words).out
    assert text.startswith("before\n<!-- results: mttsg") and text.endswith("<!-- end of results -->\nafter | here\n")
    assert shape(block.table) == form_of(block)
    results_tables.main(["--data", str(tmp_path), str(page)])
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "command", ["rm -r x --format md", "mttsg train data --format md", "mttsg compare data a.jsonl"]
)
def test_only_a_comparison_in_markdown_is_run(command: str) -> None:
    with pytest.raises(ValueError, match="not an 'mttsg compare' with --format md"):
        blocks_of(f"<!-- results: {command} -->\n<!-- end of results -->")
