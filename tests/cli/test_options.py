"""What all commands share: help, version, options, settings files, exit codes, and where things are printed."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import mttsg_cli.commands
import mttsg_core
from make_corpus import TINY_NETWORK
from mttsg_cli.app import app
from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.help_panels import PANELS
from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.data.splits import write_pairs
from mttsg_core.errors import DataError
from tests.conftest import TINY_TOML, Mttsg, start_mttsg
from tests.helpers.tiny import dataset, write_rows

COMMANDS = Path(mttsg_cli.commands.__file__).parent
OPTIONS = {
    "extract": "--out --workers --overwrite --encoder --fps --device --cache --ray --config --quiet --verbose --json",
    "train": "--out --epochs --batch-videos --queries-per-video --lr --without --resume --encoder --text-encoder --fps "
    "--features --device --cache --seed --config --quiet --verbose --json",
    "evaluate": "--model --split --mode --predictions --out --baselines --encoder --text-encoder --fps --features "
    "--device --cache --seed --config --quiet --verbose --json",
    "compare": "--split --mode --format --decimals --out --html --charts --save --at --iou --map --features --device "
    "--cache --config --quiet --verbose --json",
    "search": "--model --top --clips --zero-shot --encoder --text-encoder --fps --device --offline --cache --workers "
    "--config --quiet --verbose",
    "ground": "--model --queries --top --format --out --threshold --clips --clip-name --pad --join --html --open "
    "--play --encoder --text-encoder --fps --features --device --cache --config --quiet --verbose --json",
}


@pytest.mark.parametrize("command", list(OPTIONS))
def test_every_command_has_its_options_and_examples(mttsg: Mttsg, command: str) -> None:
    ran = mttsg(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    for option in OPTIONS[command].split():
        assert option in ran.out, option
    assert ran.out.count(f"mttsg {command} ") >= 3  # usage and at least two examples


def test_program_help_and_version(mttsg: Mttsg) -> None:
    ran = mttsg("--help")
    assert ran.code == 0
    assert all(command in ran.out for command in OPTIONS)
    assert mttsg("--version") == type(ran)(0, f"mttsg {mttsg_core.__version__}\n", "")


@pytest.mark.parametrize("program", [[sys.executable, "-m", "mttsg_cli"], [f"{Path(sys.executable).parent}/mttsg"]])
def test_the_program_as_users_start_it(program: list[str]) -> None:
    if not Path(program[0]).exists():
        pytest.skip(f"{program[0]} is not installed")
    ran = subprocess.run([*program, "--version"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"mttsg {mttsg_core.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["unheard-of"],
        ["extract", "--unheard-of", "x"],
        ["extract", "x", "--workers", "0"],
        ["extract", "x", "--workers", "two"],
        ["extract", "x", "--fps", "0"],
        ["train", "x", "--epochs", "-1"],
        ["ground", "x", "q", "--top", "0"],
        ["ground", "x", "q", "--threshold", "1.5"],
        ["ground", "x", "q", "--config", "absent.toml"],
    ],
)
def test_wrong_usage_is_2_and_prints_nothing_on_standard_output(mttsg: Mttsg, arguments: list[str]) -> None:
    ran = mttsg(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        "extract VIDEO --out FILE",
        "extract VIDEO --cache FILE",
        "train DATA --out FILE",
        "train DATA --cache FILE",
        "evaluate DATA --cache FILE",
        "evaluate DATA --charts FILE",
        "compare DATA model --cache FILE",
        "compare DATA model --save FILE",
        "compare DATA model --charts FILE",
        "ground VIDEO q --clips FILE",
        "ground VIDEO q --cache FILE",
    ],
)
def test_a_file_where_a_folder_is_needed_is_said_before_any_work(
    mttsg: Mttsg, clip: Path, corpus: Path, tmp_path: Path, arguments: str
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    meant = {"VIDEO": clip, "DATA": corpus, "FILE": file}
    ran = mttsg(*(meant.get(argument, argument) for argument in arguments.split()))
    assert (ran.code, ran.out, ran.errors) == (2, "", [f"error: {file}: is a file, not a folder"])
    assert file.read_text() == "mine"


OPTION_MODULES = {path.stem for path in (COMMANDS.parent / "options").glob("*.py")}


@pytest.mark.parametrize("path", sorted(COMMANDS.glob("*.py")), ids=lambda path: path.stem)
def test_commands_are_short_and_take_their_options_from_one_place(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef):
            continue
        assert (node.end_lineno or 0) - node.body[0].lineno < 45, node.name  # the signature is a list of options
        if node.name == path.stem:
            kinds = {ast.unparse(argument.annotation) for argument in node.args.args if argument.annotation}
            assert {kind.partition(".")[0] for kind in kinds - {"typer.Context"}} <= OPTION_MODULES


class TestHelp:
    """What `--help` shows, and what wrong usage says."""

    @pytest.mark.parametrize("command", [*OPTIONS, "check"])
    def test_every_option_is_in_a_group(self, mttsg: Mttsg, command: str) -> None:
        parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
        shown = [parameter for parameter in parameters if parameter.param_type_name == "option"]
        assert all(parameter.rich_help_panel in PANELS for parameter in shown), command
        text = mttsg(command, "--help").out
        assert "General" in text and "─ Options ─" not in text
        assert "922337203685477580" not in text and "<bool>" not in text and "without effect" not in text

    def test_options_without_effect_are_parsed_and_not_shown(self, mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
        assert "--seed" not in mttsg("ground", "--help").out + mttsg("extract", "--help").out
        assert mttsg("extract", clip, "--seed", "3", "--out", tmp_path / "f").code == 0

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ("runs", "error: no command 'runs'; did you mean 'models'?"),
            ("evalute x", "error: no command 'evalute'; did you mean 'evaluate'?; see "),
            ("predict x", "error: no command 'predict'; did you mean 'ground'?; see "),
            ("train x --learning-rate 1", "error: no option --learning-rate; did you mean --lr?; see "),
            ("train x --batch-size 1", "error: no option --batch-size; did you mean --batch-videos?; see "),
            ("ground x --frobnicate", "error: no option --frobnicate; see "),
            ("ground x y --top 0", "error: --top: "),
            ("evaluate x --seed -1", "error: --seed: -1 is not between 0 and 2^63 - 1; see "),
            ("evaluate x --seed 9223372036854775808", "error: --seed: 9223372036854775808 is not between"),
        ],
    )
    def test_wrong_usage_is_one_line(self, mttsg: Mttsg, arguments: str, said: str) -> None:
        ran = mttsg(*arguments.split())
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
        assert ran.err.startswith(said)
        assert ran.err.rstrip().endswith("--help")

    def test_a_format_that_does_not_exist_is_not_taken_for_another(self, mttsg: Mttsg, clip: Path) -> None:
        [line] = mttsg("ground", clip, "q", "--format", "xml").errors
        assert "did you mean" not in line and "table, json, jsonl" in line

    @pytest.mark.parametrize(
        "arguments",
        [["x\x1b[31m"], ["ground", "x", "--\x1b]0;y\x07"], ["ground", "x", "q", "--top", "\x1b[31mred\nerror: z"]],
    )
    def test_wrong_usage_brings_no_control_characters_to_the_terminal(self, mttsg: Mttsg, arguments: list[str]) -> None:
        ran = mttsg(*arguments)
        assert ran.code == 2
        assert all(character.isprintable() for character in ran.err.rstrip("\n"))


class TestConfig:
    """`--config FILE.toml`: the options by their names."""

    def write(self, folder: Path, text: str) -> Path:
        path = folder / "settings.toml"
        path.write_text(text)
        return path

    @pytest.mark.parametrize(
        ("command", "text", "wrong", "near"),
        [
            ("train", "epoch = 3", "epoch", "epochs"),
            ("train", "batch-video = 3", "batch_video", "batch_videos"),
            ("train", "[training]\nlearning_rate = 1", "learning_rate", "'lr'"),
            ("train", "[network]\nwidht = 8", "widht", "width"),
            ("train", "[loss]\nspans = 1.0", "spans", "'proposal'"),
            ("extract", "wokers = 2", "wokers", "workers"),
            ("ground", "topp = 2", "topp", "top"),
        ],
    )
    def test_an_unknown_name_is_refused_with_the_nearest(
        self, mttsg: Mttsg, tmp_path: Path, command: str, text: str, wrong: str, near: str
    ) -> None:
        target = tmp_path / "data"
        write_rows(target / "train.jsonl", [{"video": "a", "query": "q", "start": 0, "end": 1}])
        ran = mttsg(command, target, *(["q"] if command == "ground" else []), "--config", self.write(tmp_path, text))
        assert (ran.code, ran.out) == (2, "")
        words = " ".join(ran.err.replace("│", " ").split())
        assert f"'{wrong}'" in words
        assert "did you mean" in words
        assert near in words

    @pytest.mark.parametrize(
        "text",
        [
            "epochs = ",
            'epochs = "many"',
            "epochs = -1",
            "fps = 0.0",
            "lr = -1.0",
            "lr = nan",
            "[network]\nwidth = 7",
            "[network]\nwidth = 0",
            '[network]\nwidth = "wide"',
            "[training]\nbatch_videos = 0",
            "network = 3",
            "\x00",
        ],
    )
    def test_a_value_that_cannot_be_used_is_refused(self, mttsg: Mttsg, tmp_path: Path, text: str) -> None:
        dataset(tmp_path / "features")
        rows = [{"video": f"train{i}", "query": "q", "start": 1, "end": 2} for i in range(6)]
        write_rows(tmp_path / "train.jsonl", rows)
        ran = mttsg("train", tmp_path, "--out", tmp_path / "m", "--config", self.write(tmp_path, text))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err
        assert not (tmp_path / "m").exists()

    def test_an_option_given_counts_more_than_the_file(self, mttsg: Mttsg, clip: Path, tmp_path: Path) -> None:
        path = self.write(tmp_path, f'out = "{tmp_path}/file"\njson = true\nquiet = true\nfps = 0.5\n')
        ran = mttsg("extract", clip, "--config", path)
        assert (ran.code, json.loads(ran.out)["folder"], ran.err) == (0, f"{tmp_path}/file", "")
        ran = mttsg("extract", clip, "--config", path, "--out", tmp_path / "given")
        assert json.loads(ran.out)["folder"] == f"{tmp_path}/given"

    def test_a_file_that_is_not_there_is_said_in_plain_words(self, mttsg: Mttsg, tmp_path: Path) -> None:
        ran = mttsg("check", tmp_path, "--config", tmp_path / "absent.toml")
        assert ran.code == 2
        assert "No such file" in " ".join(ran.err.replace("│", " ").split())
        assert "Errno" not in ran.err

    def test_dashes_and_underscores_are_the_same(self, mttsg: Mttsg, tmp_path: Path) -> None:
        for name in ("batch-videos", "batch_videos"):
            ran = mttsg("train", tmp_path / "absent", "--config", self.write(tmp_path, f"{name} = 2"))
            assert "absent" in ran.err

    def test_names_of_an_earlier_version_are_read_with_one_line(self, mttsg: Mttsg, tmp_path: Path) -> None:
        write_pairs(dataset(tmp_path / "features").pairs, tmp_path / "train.jsonl")
        tables = TINY_NETWORK.replace("span_width", "proposal_width") + "[training]\ncut = 0.5\njoin = 0.2\n"
        path = self.write(tmp_path, f"epochs = 1\n{tables}")
        ran = mttsg("train", tmp_path, "--out", tmp_path / "m", "--config", path)
        assert ran.code == 0, ran.err
        lines = [line for line in ran.err.splitlines() if "is now" in line]
        assert lines == ["renamed settings: cut is now temporal_crop; join is now temporal_concat"]
        training = json.loads((tmp_path / "m" / "config.json").read_text())["training"]
        assert (training["temporal_crop"], training["temporal_concat"]) == (0.5, 0.2)


def test_what_the_library_logs_is_shown_once(tmp_path: Path) -> None:
    """In a process of its own, where no test configures logging."""
    write_pairs(dataset(tmp_path / "features").pairs, tmp_path / "train.jsonl")
    with (tmp_path / "train.jsonl").open("a") as rows:
        rows.write("broken\n")
    ran = subprocess.run(
        [sys.executable, "-m", "mttsg_cli", "train", tmp_path, "--out", tmp_path / "m", "--epochs", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (ran.stderr.count("1 bad row skipped"), ran.stderr.count("train.jsonl:13: ")) == (1, 1)


class TestReporter:
    """Everything that is not data goes to standard error, one line each, as it is."""

    @pytest.mark.parametrize(
        "name",
        ["a b.mp4", "[bold]x[/bold].mp4", "[/x].mp4", ":smile:.mp4", "back\\[slash]\\.mp4", "é 开.mp4", "x" * 500],
    )
    def test_names_are_shown_as_they_are(self, capsys: pytest.CaptureFixture[str], name: str) -> None:
        reporter = Reporter(verbose=True)
        for say in (reporter.say, reporter.detail):
            say(name)
        reporter.warn(name)
        reporter.error(name)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.splitlines() == [name, name, f"warning: {name}", f"error: {name}"]

    def test_control_characters_do_not_reach_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        reporter = Reporter(verbose=True)
        for say, before in (
            (reporter.error, "error: "),
            (reporter.warn, "warning: "),
            (reporter.say, ""),
            (reporter.detail, ""),
        ):
            say("a\nb\x1b[31m\r\udcff.mp4: reason")
            assert capsys.readouterr().err == f"{before}a\\nb\\x1b[31m\\r\\udcff.mp4: reason\n"

    def test_quiet_says_only_errors(self, capsys: pytest.CaptureFixture[str]) -> None:
        reporter = Reporter(quiet=True)
        reporter.say("x")
        reporter.warn("x")
        reporter.error("e")
        assert capsys.readouterr().err == "error: e\n"


NO_MEMORY = "error: not enough memory: a smaller --batch-videos, fewer --workers or --device cpu may help"


class TestExitCodes:
    """What goes wrong is one line and a number."""

    @pytest.mark.parametrize(
        ("problem", "code", "line"),
        [
            (DataError("f.jsonl: broken"), 2, "error: f.jsonl: broken"),
            (OSError(28, "No space left on device", "/x/y"), 2, "error: /x/y: No space left on device"),
            (PermissionError(13, "Permission denied"), 2, "error: Permission denied"),
            (KeyboardInterrupt(), 130, "interrupted; finished work is kept"),
            (MemoryError(), 2, NO_MEMORY),
            (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), 2, NO_MEMORY),
        ],
    )
    def test_one_line_and_a_code(
        self, capsys: pytest.CaptureFixture[str], problem: BaseException, code: int, line: str
    ) -> None:
        with pytest.raises(Exception) as caught, exit_codes():  # noqa: PT011
            raise problem
        assert getattr(caught.value, "exit_code", None) == code
        assert capsys.readouterr() == ("", line + "\n")

    def test_what_is_our_own_fault_is_not_hidden(self) -> None:
        with pytest.raises(ZeroDivisionError), exit_codes():
            raise ZeroDivisionError
        with pytest.raises(RuntimeError), exit_codes():
            raise RuntimeError("shapes do not match")

    def test_a_traceback_when_asked_for(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("MTTSG_DEBUG", "1")
        result = CliRunner().invoke(app, ["train", str(tmp_path / "absent")])
        assert isinstance(result.exception, DataError)


def test_ctrl_c_while_training_is_130_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    write_pairs(dataset(tmp_path / "features").pairs, tmp_path / "train.jsonl")
    settings = tmp_path / "settings.toml"
    settings.write_text(TINY_TOML.replace("fps = 1.0\n", ""))  # the features are there
    process = start_mttsg("train", tmp_path, "--config", settings, "--epochs", "5000", "--out", tmp_path / "m")
    log = tmp_path / "m" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err
    assert not (tmp_path / "m" / "report.json").exists()
    assert load_model(tmp_path / "m").network.config.width == 16
    assert (tmp_path / "m" / "state" / "training.safetensors").is_file()
