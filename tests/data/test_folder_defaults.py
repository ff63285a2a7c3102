"""`mttsg.toml` in a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.folder_defaults import FolderDefaults, defaults_of_videos, read_defaults
from mttsg_core.errors import ConfigError, DataError


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mttsg.toml").write_text(text)
    return folder


def test_a_folder_without_one_has_no_defaults(tmp_path: Path) -> None:
    assert read_defaults(tmp_path) == FolderDefaults()
    assert read_defaults(tmp_path / "rows.jsonl") == FolderDefaults()


def test_features_and_settings_of_the_training(tmp_path: Path) -> None:
    text = 'encoder = "classic"\ntext-encoder = "hashed"\nfps = 1\nepochs = 3\n'
    text += "[training]\nlr = 0.1\n[network]\nwidth = 16\n"
    defaults = read_defaults(write(tmp_path, text))
    assert defaults.features == {"encoder": "classic", "text_encoder": "hashed", "fps": 1}
    assert defaults.tables == {"training": {"lr": 0.1, "epochs": 3}, "network": {"width": 16}, "loss": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encodr = 'classic'", "unknown setting in .*mttsg.toml: 'encodr'; did you mean 'encoder'"),
        ("push = 'ada/x'", "unknown setting"),
        ("cache = '/tmp'", "unknown setting"),
        ("encoder = 3", "encoder = 3: must be a string"),
        ("fps = true", "fps = True: must be a number"),
        ("network = 3", r"\[network\] is not a table"),
    ],
)
def test_what_does_not_belong_there_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_defaults(write(tmp_path, text))


@pytest.mark.parametrize("content", [b"encoder =", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mttsg.toml").write_bytes(content)
    with pytest.raises(DataError, match=r"mttsg\.toml: ") as caught:
        read_defaults(tmp_path)
    assert "\n" not in str(caught.value)


def test_videos_have_those_of_the_data_folder_they_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "data", 'encoder = "classic"\ntext_encoder = "hashed"\n')
    (data / "videos" / "kitchen").mkdir(parents=True)
    inside = [data, data / "videos", data / "videos" / "kitchen", data / "videos" / "kitchen" / "a.mp4"]
    for path in inside:
        assert defaults_of_videos([path]) == {"encoder": "classic"}
    assert defaults_of_videos(inside) == {"encoder": "classic"}
    assert defaults_of_videos([data / "other" / "a.mp4"]) == {}
    monkeypatch.chdir(data / "videos")
    assert defaults_of_videos([Path("kitchen/a.mp4")]) == {"encoder": "classic"}
    assert defaults_of_videos([]) == {}


def test_videos_of_folders_that_differ_need_an_encoder(tmp_path: Path) -> None:
    write(tmp_path / "data", 'encoder = "classic"\n')
    with pytest.raises(ConfigError, match="name the --encoder"):
        defaults_of_videos([tmp_path / "data", tmp_path / "other"])
