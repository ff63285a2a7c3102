"""Models on the Hugging Face hub: `user/name` instead of a folder, and a finished model pushed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is the one of its own HTTP library
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mttsg_core import paths
from mttsg_core.card import CARD, write_card
from mttsg_core.checkpoint import CONFIG, REPORT, WEIGHTS, WORDS, read_json
from mttsg_core.downloads import DownloadBar
from mttsg_core.errors import ConfigError, ModelError

FILES = (CONFIG, WEIGHTS, WORDS, REPORT)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def find_model(name: str | Path | None, *, offline: bool = False) -> Path:
    """The folder of a model: one that is there, one of the hub, or the newest finished run when none is named.

    Args:
        name: a folder, or where there is no such folder `user/name` or `user/name@REVISION`, a branch, tag or commit.
            What was downloaded once is downloaded again only if it has changed, and is used where there is no network.
        offline: take a model of the hub only if it was downloaded before.

    Raises:
        ModelError: if there is no such model, or no run is finished yet.
    """
    repo, _, revision = Path(name or "").as_posix().partition("@")
    if name is None or Path(name).exists() or not _ID.fullmatch(repo):
        return paths.find_model(name)
    return _download(repo, revision or None, offline=offline)


def _download(repo: str, revision: str | None, *, offline: bool) -> Path:
    """The folder of a model of the hub, downloaded if needed. Raises ModelError as `find_model`."""

    def fetch(*files: str) -> Path:
        options: Any = {"revision": revision, "local_files_only": offline, "tqdm_class": DownloadBar}
        return Path(snapshot_download(repo, allow_patterns=list(files), **options))

    with _one_line(repo):
        described = fetch(CONFIG) / CONFIG  # first, for the weights of some other model may be large
        if not described.is_file() or "mttsg" not in read_json(described):
            raise ModelError(f"{repo}: no mttsg model ({CONFIG} on the hub is not one of ours)")
        return fetch(*FILES)


def check_push(repo: str, api: HfApi | None = None) -> None:
    """Make sure, before hours of training, that a model can be pushed.

    Args:
        repo: `user/name`, or the name of an organisation in place of the user's.
        api: of the hub; None takes the user's own.

    Raises:
        ConfigError: if `repo` has another form.
        ModelError: if nobody is logged in, the token may not write, or the name is somebody else's.
    """
    if not _ID.fullmatch(repo):
        raise ConfigError(f"{repo!r} is no name of a model on the hub: it has the form user/name")
    with _one_line(repo):
        user = (api or HfApi()).whoami()
    owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
    if repo.split("/")[0] not in owners:
        raise ModelError(f"{repo}: not yours: on the hub you are {' and '.join(owners)}")
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ModelError(f"{repo}: your token can only read: make one that can write, and give it to 'hf auth login'")


def push_model(folder: Path, repo: str, api: HfApi | None = None) -> str:
    """Push a finished model, with a model card if it has none yet; training state stays here.

    Args:
        folder: as `mttsg train` wrote it.
        repo: `user/name`; made if missing, public unless your settings on the hub say otherwise.
        api: of the hub; None takes the user's own.

    Returns:
        The address of the model's page.

    Raises:
        ModelError: if the training has not come to its end, or the hub does not take it.
    """
    if not (folder / REPORT).is_file():
        raise ModelError(f"{folder}: no finished model to push (no {REPORT} in it)")
    write_card(folder, repo)
    api = api or HfApi()
    with _one_line(repo):
        page = api.create_repo(repo, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=[*FILES, CARD], commit_message="Upload a model of mttsg"
        )
    return str(page)


@contextmanager
def _one_line(repo: str) -> Iterator[None]:
    """Say in one line what went wrong between here and the hub."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ModelError(f"{repo}: you are not logged in to the hub: use 'hf auth login', or set HF_TOKEN") from error
    except GatedRepoError as error:
        raise ModelError(f"{repo}: its owner must let you in first: ask on its page on the hub") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{repo}: no such folder, and no such model on the hub (or it is private)") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{repo}: no such revision on the hub") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{repo}: no such folder, never downloaded, and the hub cannot be reached") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = "your token is not valid, or may not do this" if status in (401, 403) else _brief(error)
        raise ModelError(f"{repo}: refused by the hub with status {status} ({reason})") from error
    except HTTPError as error:
        raise ModelError(f"{repo}: the hub cannot be reached ({_brief(error)})") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{repo}: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
