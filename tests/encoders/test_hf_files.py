"""Files of pretrained models: where they are found, how they are identified, and what is wrong with bad ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from safetensors.numpy import load_file, save_file

from mttsg_core.encoders import build_encoder, build_text_encoder
from mttsg_core.encoders.hf_files import find_files, is_pinned
from mttsg_core.errors import ConfigError
from mttsg_core.utils import hf_hub
from tests.helpers.tiny_encoders import save_bert, save_clip, save_vit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """Each test looks for files as a new process does."""
    find_files.cache_clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path) -> Path:
    """A cache of the Hugging Face Hub that holds `someone/clip`; the folder of its files."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(clip, repository / "snapshots" / COMMIT)
    return repository / "snapshots" / COMMIT


class TestContent:
    """An id identifies content."""

    def test_a_copy_is_the_same_encoder(self, clip: Path, tmp_path: Path) -> None:
        copied = shutil.copytree(clip, tmp_path / "other" / "name")
        (copied / "README.md").write_text("notes")
        assert build_encoder(str(copied)).settings == build_encoder(str(clip)).settings
        assert str(clip) not in str(build_encoder(str(clip)).settings)

    def test_other_weights_or_preprocessing_are_another_encoder(self, clip: Path, tmp_path: Path) -> None:
        settings = build_encoder(str(clip)).settings
        other = save_clip(tmp_path / "other", seed=1)
        assert build_encoder(str(other)).settings["encoder"] != settings["encoder"]
        copied = shutil.copytree(clip, tmp_path / "copied")
        prepared = json.loads((copied / "preprocessor_config.json").read_text())
        (copied / "preprocessor_config.json").write_text(json.dumps({**prepared, "image_mean": [0.5, 0.5, 0.5]}))
        changed = build_encoder(str(copied)).settings
        assert changed != settings
        assert changed["encoder"] == settings["encoder"]

    def test_an_id_resolves_to_the_folder_last_used(self, clip: Path, tmp_path: Path) -> None:
        moved = shutil.copytree(clip, tmp_path / "moved")
        files = find_files(str(clip))
        find_files(str(moved))
        find_files.cache_clear()
        assert find_files(files.id).folder == moved
        assert build_encoder(files.id).settings["encoder"] == files.id
        assert build_text_encoder(files.id).id == files.id

    def test_a_folder_that_was_deleted_or_never_used(self, clip: Path, tmp_path: Path) -> None:
        files = find_files(str(save_clip(tmp_path / "deleted", seed=2)))
        shutil.rmtree(tmp_path / "deleted")
        find_files.cache_clear()
        for unknown in (files.id, "clip#0000000000000000"):
            with pytest.raises(ConfigError, match=f"'{unknown}' is a model in a folder.* --encoder"):
                find_files(unknown)

    def test_a_folder_that_has_changed(self, tmp_path: Path) -> None:
        folder = save_clip(tmp_path / "changing", seed=3)
        files = find_files(str(folder))
        save_clip(folder, seed=4)
        find_files.cache_clear()
        with pytest.raises(ConfigError, match=f"'{files.id}' was in .*changed since"):
            find_files(files.id)

    def test_a_read_only_home_is_not_an_error(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        assert find_files(str(clip)).folder == clip


class TestHub:
    """Models of the Hugging Face Hub."""

    def test_the_commit_is_part_of_the_id(self, hub: Path) -> None:
        files = find_files("someone/clip", offline=True)
        assert (files.id, files.folder) == (f"someone/clip@{COMMIT}", hub)
        find_files.cache_clear()
        assert find_files(files.id) == files
        settings = build_encoder("someone/clip", offline=True).settings
        assert settings["encoder"] == files.id

    def test_a_downloaded_commit_needs_no_request(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        local_only: list[bool] = []

        def download(*arguments: Any, local_files_only: bool, **options: Any) -> Any:
            local_only.append(local_files_only)
            return huggingface_hub.snapshot_download(*arguments, local_files_only=local_files_only, **options)

        monkeypatch.setattr(hf_hub, "snapshot_download", download)
        find_files(f"someone/clip@{COMMIT}")
        assert local_only == [True]

    def test_an_incomplete_download(self, hub: Path) -> None:
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
            (errors.HTTPError, "cannot be reached"),  # type: ignore[attr-defined]
            (ConnectionError, "encoder 'someone/clip': several lines"),
        ],
    )
    def test_errors_of_the_hub_are_one_line(
        self, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str
    ) -> None:
        def refuse(*arguments: object, **options: object) -> str:
            error = kind.__new__(kind, "several\nlines")
            error.response = SimpleNamespace(status_code=500)  # type: ignore[attr-defined]
            raise error

        monkeypatch.setattr(hf_hub, "snapshot_download", refuse)
        with pytest.raises(ConfigError, match=message) as caught:
            find_files("someone/clip")
        assert "\n" not in str(caught.value)

    def test_offline_makes_no_request(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ConfigError, match="is not used when offline"):
            find_files("someone/else", offline=True)

    @pytest.mark.parametrize("name", ["", "a b", "../x/y", "no/such/folder", "hashed:x"])
    def test_an_invalid_name(self, name: str) -> None:
        with pytest.raises(ConfigError, match="unknown encoder"):
            find_files(name)


def remove_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def remove_the_tokenizer(folder: Path) -> None:
    for path in folder.glob("token*"):
        path.unlink()


def refer_to_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))


def name_shards(*shards: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = {f"weight{number}": shard for number, shard in enumerate(shards)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))

    spoil.__name__ = f"shards {shards}"
    return spoil


def overwrite(name: str, content: str | None) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)

    spoil.__name__ = f"{name} {content}"[:60]
    return spoil


SPOILT = [
    (remove_a_weight, "1 weights are missing, such as visual_projection.weight"),
    (pickle_weights, "pickled weights, which are never loaded"),
    (truncate, "cannot be loaded"),
    (refer_to_a_missing_shard, "has no model-1.safetensors"),
    (name_shards("/etc/passwd"), "model.safetensors.index.json names '/etc/passwd', which is not a file in the folder"),
    (name_shards("../model.safetensors"), "names '../model.safetensors', which is not a file in the folder"),
    (name_shards("model.safetensors", ".."), "names '..', which is not"),
    (name_shards("sub/model.safetensors"), "names 'sub/model.safetensors', which is not"),
    (name_shards("a\nb.safetensors"), "which is not a file in the folder"),
    (name_shards(3), "damaged model"),
    (name_shards(3, "model.safetensors", ["x"]), "damaged model"),
    (remove_the_tokenizer, "there is no tokenizer in it"),
    (overwrite("model.safetensors", None), "has no model.safetensors"),
    (overwrite("model.safetensors", ""), "cannot be loaded"),
    (overwrite("config.json", None), "no config.json"),
    (overwrite("config.json", "{"), "damaged model"),
    (overwrite("config.json", "[]"), "damaged model"),
    (overwrite("config.json", "[" * 200_000), "nested too deeply"),
    (overwrite("config.json", '{"model_type": ' + "9" * 5000 + "}"), "damaged model"),
    (overwrite("config.json", '{"model_type": "../clip"}'), "the model type '../clip' is not a name"),
    (overwrite("config.json", '{"model_type": "no_such_model"}'), "cannot be loaded"),
    (overwrite("preprocessor_config.json", None), "cannot be loaded"),
    (overwrite("preprocessor_config.json", "{"), "cannot be loaded"),
    (overwrite("tokenizer.json", None), "cannot be loaded"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_a_bad_model_is_one_line(clip: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = shutil.copytree(clip, tmp_path / "bad")
    spoil(folder)
    with pytest.raises(ConfigError, match=message) as caught:
        build_text_encoder("clip", encoder_id=str(folder)).encode(["a"])
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_an_id_that_fixes_the_content_is_pinned(clip: Path, hub: Path) -> None:
    for name in (str(clip), "someone/clip"):
        assert not is_pinned(name)
        assert is_pinned(find_files(name, offline=True).id)
    for loose in (
        "someone/clip@main",
        f"someone/clip@{COMMIT}\n",
        f"../{COMMIT}",
        f"a/../b@{COMMIT}",
        "a/b#0123",
        "",
        "hashed",
    ):
        assert not is_pinned(loose), loose


def test_the_text_tower_of_an_encoder_is_recorded_by_its_content(clip: Path) -> None:
    pinned = find_files(str(clip)).id
    assert build_text_encoder("clip", encoder_id=pinned).id == "clip"
    assert build_text_encoder("clip", encoder_id=str(clip)).id == pinned


def test_models_without_a_tower(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BertModel takes no images, so it cannot encode videos"):
        build_encoder(str(save_bert(tmp_path / "bert")))
    with pytest.raises(ConfigError, match="ViTModel takes no text"):
        build_text_encoder(str(save_vit(tmp_path / "vit")))
