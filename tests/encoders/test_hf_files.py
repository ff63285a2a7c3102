"""Where the files of pretrained models are found, what stands for their content, and what is wrong with bad ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from safetensors.numpy import load_file, save_file

from mttsg_core.encoders import build_encoder, build_text_encoder
from mttsg_core.encoders.hf_files import find_files
from mttsg_core.errors import ConfigError
from mttsg_core.utils import hf_hub as downloads
from tests.helpers.tiny_encoders import save_bert, save_clip, save_vit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _nothing_found_yet() -> None:
    """Each test looks for files as a new process does."""
    find_files.cache_clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path) -> Path:
    """A cache of the Hugging Face Hub that holds `someone/clip`. Returns the folder of its files."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(clip, repository / "snapshots" / COMMIT)
    return repository / "snapshots" / COMMIT


class TestContent:
    """An id stands for one content."""

    def test_the_same_content_elsewhere_is_the_same_encoder(self, clip: Path, tmp_path: Path) -> None:
        copied = shutil.copytree(clip, tmp_path / "other" / "name")
        (copied / "README.md").write_text("notes")
        assert build_encoder(str(copied)).settings == build_encoder(str(clip)).settings
        assert str(clip) not in str(build_encoder(str(clip)).settings)

    def test_other_weights_or_pictures_are_another(self, clip: Path, tmp_path: Path) -> None:
        settings = build_encoder(str(clip)).settings
        other = save_clip(tmp_path / "other", seed=1)
        assert build_encoder(str(other)).settings["encoder"] != settings["encoder"]
        copied = shutil.copytree(clip, tmp_path / "copied")
        prepared = json.loads((copied / "preprocessor_config.json").read_text())
        (copied / "preprocessor_config.json").write_text(json.dumps({**prepared, "image_mean": [0.5, 0.5, 0.5]}))
        changed = build_encoder(str(copied)).settings
        assert changed != settings
        assert changed["encoder"] == settings["encoder"]

    def test_an_id_leads_back_to_the_folder_last_seen(self, clip: Path, tmp_path: Path) -> None:
        moved = shutil.copytree(clip, tmp_path / "moved")
        found = find_files(str(clip))
        find_files(str(moved))
        find_files.cache_clear()
        assert find_files(found.id).folder == moved
        assert build_encoder(found.id).settings["encoder"] == found.id
        assert build_text_encoder(found.id).id == found.id

    def test_a_folder_that_is_gone_or_was_never_seen(self, clip: Path, tmp_path: Path) -> None:
        found = find_files(str(save_clip(tmp_path / "gone", seed=2)))
        shutil.rmtree(tmp_path / "gone")
        find_files.cache_clear()
        for unknown in (found.id, "clip#0000000000000000"):
            with pytest.raises(ConfigError, match=f"'{unknown}' is a model in a folder.* --encoder"):
                find_files(unknown)

    def test_a_folder_that_has_changed(self, tmp_path: Path) -> None:
        folder = save_clip(tmp_path / "changing", seed=3)
        found = find_files(str(folder))
        save_clip(folder, seed=4)
        find_files.cache_clear()
        with pytest.raises(ConfigError, match=f"'{found.id}' was in .*changed since"):
            find_files(found.id)

    def test_a_home_that_cannot_be_written_is_no_matter(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        assert find_files(str(clip)).folder == clip


class TestHub:
    """Models of the Hugging Face Hub."""

    def test_the_commit_is_part_of_the_id(self, hub: Path) -> None:
        found = find_files("someone/clip", offline=True)
        assert (found.id, found.folder) == (f"someone/clip@{COMMIT}", hub)
        find_files.cache_clear()
        assert find_files(found.id) == found
        settings = build_encoder("someone/clip", offline=True).settings
        assert settings["encoder"] == found.id

    def test_a_commit_that_is_here_is_not_asked_for(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[bool] = []

        def download(*arguments: object, local_files_only: bool, **options: object) -> str:
            asked.append(local_files_only)
            return huggingface_hub.snapshot_download(*arguments, local_files_only=local_files_only, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(downloads, "snapshot_download", download)
        find_files(f"someone/clip@{COMMIT}")
        assert asked == [True]

    def test_a_download_that_was_broken_off(self, hub: Path) -> None:
        (hub / "model.safetensors").unlink()
        with pytest.raises(ConfigError, match=r"has no model\.safetensors: .*not fully downloaded"):
            find_files("someone/clip", offline=True)

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            (errors.RepositoryNotFoundError, "encoder 'someone/clip': no such folder.*hf auth login"),
            (errors.GatedRepoError, "accept its terms on huggingface.co/someone/clip"),
            (errors.RevisionNotFoundError, "no such revision"),
            (errors.LocalEntryNotFoundError, "cannot be reached: run once with the network"),
            (errors.HfHubHTTPError, r"refused by the Hugging Face Hub with status 500"),
            (errors.HTTPError, "cannot be reached"),
            (ConnectionError, "encoder 'someone/clip': several lines"),
        ],
    )
    def test_what_the_hub_says_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str
    ) -> None:
        def refuse(*arguments: object, **options: object) -> str:
            raised = kind.__new__(kind, "several\nlines")
            raised.response = SimpleNamespace(status_code=500)  # type: ignore[attr-defined]
            raise raised

        monkeypatch.setattr(downloads, "snapshot_download", refuse)
        with pytest.raises(ConfigError, match=message) as caught:
            find_files("someone/clip")
        assert "\n" not in str(caught.value)

    def test_offline_nothing_is_asked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ConfigError, match="is not used when offline"):
            find_files("someone/else", offline=True)

    @pytest.mark.parametrize("name", ["", "a b", "../x/y", "no/such/folder", "hashed:x"])
    def test_what_can_be_no_name(self, name: str) -> None:
        with pytest.raises(ConfigError, match="unknown encoder"):
            find_files(name)


def lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def lose_the_tokenizer(folder: Path) -> None:
    for path in folder.glob("token*"):
        path.unlink()


def lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))


def change(name: str, content: str | None) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)

    spoil.__name__ = f"{name} {content}"
    return spoil


SPOILT = [
    (lose_a_weight, "1 weights are missing, such as visual_projection.weight"),
    (pickle_weights, "pickled weights, which are never loaded"),
    (truncate, "cannot be loaded"),
    (lose_a_shard, "has no model-1.safetensors"),
    (lose_the_tokenizer, "there is no tokenizer in it"),
    (change("model.safetensors", None), "has no model.safetensors"),
    (change("model.safetensors", ""), "cannot be loaded"),
    (change("config.json", None), "no config.json"),
    (change("config.json", "{"), "damaged model"),
    (change("config.json", "[]"), "damaged model"),
    (change("config.json", '{"model_type": "no_such_model"}'), "cannot be loaded"),
    (change("preprocessor_config.json", None), "cannot be loaded"),
    (change("preprocessor_config.json", "{"), "cannot be loaded"),
    (change("tokenizer.json", None), "cannot be loaded"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_a_bad_model_is_one_line(clip: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = shutil.copytree(clip, tmp_path / "bad")
    spoil(folder)
    with pytest.raises(ConfigError, match=message) as caught:
        build_text_encoder("clip", encoder_id=str(folder)).encode(["a"])
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_lack_a_tower(tmp_path: Path) -> None:
    for save in (save_vit, save_bert):
        with pytest.raises(ConfigError, match="does not have an image and a text tower"):
            build_encoder(str(save(tmp_path / save.__name__)))
    with pytest.raises(ConfigError, match="ViTModel takes no sentences"):
        build_text_encoder(str(tmp_path / "save_vit"))
