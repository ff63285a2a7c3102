"""`mttsg ground` among other programs: signals, pipes, terminals, file names of all kinds, and a light second run."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mttsg_core.video.probe import probe
from tests.conftest import read_terminal, start_mttsg

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]

QUERY = "the red circle moves left"
SUMMARY = r"(\d+) videos?, (\d+) sentences?, (\d+) moments?, (?:(\d+) excerpts?, )?(\d+) failed, \d+\.\d s"


@pytest.fixture
def model(trained: Path, cache: Path) -> list[str]:
    """Options that name the trained model and the cached features."""
    return ["--model", str(trained), "--cache", str(cache)]


def run(*arguments: str | Path | bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    process = start_mttsg(*arguments, **options)
    out, err = process.communicate(timeout=120)
    assert b"Traceback" not in err
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_ten_good_one_broken_and_one_empty(corpus: Path, model: list[str], tmp_path: Path) -> None:
    for source in sorted((corpus / "videos").glob("*.mp4"))[:10]:
        shutil.copy2(source, tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 5000)
    (tmp_path / "empty.mp4").touch()
    ran = run("ground", tmp_path, QUERY, "--all", "--format", "jsonl", "--workers", "2", *model)
    assert ran.returncode == 1
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert sorted(row["video"] for row in found) == sorted(map(str, tmp_path.glob("[0-9]*.mp4")))
    assert [row["rank"] for row in found] == list(range(1, 11))
    said, *lines = ran.stderr.decode().splitlines()
    assert said.startswith("model: ")
    assert sorted(line.split(": ")[1] for line in lines[:-1]) == [
        str(tmp_path / "broken.mp4"),
        str(tmp_path / "empty.mp4"),
    ]
    assert all(line.startswith("error: ") for line in lines[:-1])
    match = re.fullmatch(SUMMARY, lines[-1])
    assert match is not None
    assert match.groups() == ("12", "1", "10", None, "2")


def test_quiet_says_nothing_but_errors(clip: Path, model: list[str], tmp_path: Path) -> None:
    (tmp_path / "there.html").touch()
    outputs = ["--html", str(tmp_path / "there.html"), "--clips", str(tmp_path / "c")]
    ran = run("ground", clip, QUERY, "another", "--quiet", "--threshold", "0.9", *model, *outputs)
    assert (ran.returncode, ran.stderr) == (0, b"")
    ran = run("ground", clip, QUERY, "--quiet", "--top", "0", *model)
    assert ran.returncode == 2
    assert ran.stderr


def test_closed_standard_output_and_error_are_no_traceback(clip: Path, model: list[str], tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "mttsg_cli", "ground", clip, QUERY, *model, "--out", tmp_path / "o.csv"]
    ran = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *map(str, arguments)], check=False)
    assert ran.returncode == 0
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 2


NAMES: list[str | bytes] = ["with space.mp4", "-dash.mp4", "new\nline.mp4", "ünï 开.mp4", b"\xff\xfe.mp4"]


def test_strange_names_reach_every_output(clip: Path, model: list[str], tmp_path: Path) -> None:
    """One process for all, in the poorest locale."""
    videos = tmp_path / "v"
    videos.mkdir()
    for name in NAMES:
        shutil.copy2(clip, videos / os.fsdecode(name))
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    command = ("ground", *model, "--all", "--out", "o.csv", "--html", "p.html", "--clips", "c", "--", "v", "ünï / 开")
    ran = run(*command, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    with (tmp_path / "o.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        assert {os.fsencode(row["video"]) for row in csv.DictReader(stream)} == {b"v/" + os.fsencode(n) for n in NAMES}
    clips = list((tmp_path / "c").glob("*.mp4"))
    assert len(clips) == len(NAMES)
    assert all(probe(path).duration > 0 and path.name.isprintable() and path.name[0] not in "-." for path in clips)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert page.count('<a class="hit"') == len(NAMES)
    assert "v/%FF%FE.mp4" in page
    ran = run("ground", *model, "--all", "--format", "table", "--", "v", "ünï / 开", cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "new\\nline.mp4" in ran.stdout.decode("utf-8")


def test_ctrl_c_ends_with_130_and_leaves_no_half_output(corpus: Path, trained: Path, tmp_path: Path) -> None:
    for number in range(30):
        shutil.copy2(sorted((corpus / "videos").glob("*.mp4"))[number % 20], tmp_path / f"{number}.mp4")
        (tmp_path / f"{number}.mp4").touch()  # of another time: not in the cache
    cache, out = tmp_path / "cache", tmp_path / "out.csv"
    process = start_mttsg(
        *("ground", tmp_path, QUERY, "--all", "--model", trained, "--cache", cache, "--out", out, "--workers", "2")
    )
    until = time.monotonic() + 60
    while not list(cache.rglob("*.safetensors")) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == b""
    assert b"Traceback" not in said
    assert b"interrupted" in said
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    kept = len(list(cache.rglob("*.safetensors")))
    assert kept >= 1
    ran = run("ground", tmp_path, QUERY, "--all", "--model", trained, "--cache", cache, "--out", out, "--workers", "2")
    assert ran.returncode == 0
    assert len(out.read_text().splitlines()) == 31


def on_a_terminal(*arguments: str | Path, **environment: str) -> tuple[bytes, int]:
    """What a user sees."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = start_mttsg(
        *arguments, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm-256color", **environment}
    )
    os.close(theirs)
    return read_terminal(ours), process.wait(timeout=60)


def test_colours_and_bars_are_for_terminals(corpus: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copy(sorted((corpus / "videos").glob("*.mp4"))[0], tmp_path / "a.mp4")
    (tmp_path / "broken.mp4").touch()
    command = ("ground", tmp_path, QUERY, "--model", trained, "--workers", "1")
    coloured = re.compile(rb"\x1b\[(?:\d+;)*3[0-7]")
    printed, code = on_a_terminal(*command, "--cache", tmp_path / "1")
    assert code == 1
    assert b"Reading videos" in printed
    assert coloured.search(printed)
    printed, code = on_a_terminal(*command, "--cache", tmp_path / "2", NO_COLOR="1")
    assert code == 1
    assert not coloured.search(printed)
    ran = run(*command, "--cache", tmp_path / "3")
    assert b"\x1b" not in ran.stdout + ran.stderr
    assert b"Reading videos" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "expected"), [("ground --cl", {"--clips", "--clip-name"}), ("ground x --format j", {"json", "jsonl"})]
)
def test_the_shell_completes(words: str, expected: set[str]) -> None:
    environment = {**os.environ, "_MTTSG_COMPLETE": "complete_bash", "COMP_WORDS": f"mttsg {words}"}
    environment["COMP_CWORD"] = str(len(words.split()))
    program = "import sys; sys.argv[0] = 'mttsg'; from mttsg_cli.app import app; app(prog_name='mttsg')"
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert set(ran.stdout.split()) == expected, ran.stderr


def test_a_second_run_loads_only_what_it_needs(clip: Path, model: list[str]) -> None:
    run("ground", clip, QUERY, *model)
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mttsg_cli", "ground", str(clip), QUERY, *model],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", ran.stderr, re.MULTILINE))
    assert "torch" in loaded
    heavy = {"transformers", "decord", "h5py", "huggingface_hub.hf_api"}
    assert not (heavy | {"mttsg_core.report", "mttsg_core.inference.excerpts", "mttsg_core.video.trim"}) & loaded


HOSTILE = "x \x1b[31mred\x1b]0;pwn\x07 \x7f \x9b2J \u202egnp.mp4"


@pytest.mark.parametrize("form", ["tsv", "csv", "json", "jsonl", "srt", "vtt", "table"])
def test_a_terminal_gets_no_control_characters_and_a_pipe_gets_them_as_they_are(
    clip: Path, model: list[str], tmp_path: Path, form: str
) -> None:
    video = tmp_path / HOSTILE
    shutil.copy2(clip, video)
    command: list[str | Path] = ["ground", tmp_path, HOSTILE, "--format", form, *model]
    printed, code = on_a_terminal(*command, NO_COLOR="1", COLUMNS="400")
    assert code == 0
    text = re.sub(r"\x1b\[\d*m", "", printed.decode()) if form == "table" else printed.decode()
    assert all(c.isprintable() or c in "\r\n\t" for c in text)
    assert "\\x1b[31mred" in text or "\\u001b[31mred" in text
    ran = run(*command)
    if form in ("tsv", "csv"):
        assert HOSTILE.encode() in ran.stdout
    elif form in ("json", "jsonl"):
        rows = json.loads(ran.stdout) if form == "json" else [json.loads(line) for line in ran.stdout.splitlines()]
        assert [row["query"] for row in rows] == [HOSTILE]
