"""Models on the Hugging Face Hub: `user/name` in place of a folder, and pushing a finished model."""

from __future__ import annotations

import re
from pathlib import Path

import huggingface_hub  # light: its parts are loaded when they are used

from mttsg_core.checkpoints import registry
from mttsg_core.checkpoints.files import CONFIG, FAMILIARITY, PROVENANCE, REPORT, WEIGHTS, WORDS, read_json
from mttsg_core.checkpoints.model_card import CARD, write_card
from mttsg_core.errors import ConfigError, ModelError

FILES = (CONFIG, WEIGHTS, WORDS, REPORT, PROVENANCE, FAMILIARITY)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def find_model(name: str | Path, *, offline: bool = False) -> Path:
    """Return the folder of a model: a local one, see `registry.find_model`, or one of the hub.

    Args:
        name: a folder, `last`, or the number of a run; or if there is no such folder, `user/name` or
            `user/name@REVISION`: a branch, tag or commit. A downloaded model is downloaded again only if it has
            changed, and is used when there is no network.
        offline: use a model of the hub only if it was downloaded before.

    Raises:
        ModelError: if there is no such model.
    """
    repo, _, revision = Path(name).as_posix().partition("@")
    if Path(name).exists() or not _ID.fullmatch(repo):
        return registry.find_model(name)
    return _download(repo, revision or None, offline=offline)


def _download(repo: str, revision: str | None, *, offline: bool) -> Path:
    """Return the folder of a model of the hub, downloaded if needed. Raises ModelError as `find_model`."""
    from mttsg_core.utils.hf_hub import download, hub_errors

    with hub_errors(repo, repo, ModelError, offline=offline):
        # The description first: the weights of some other model may be large.
        described = download(repo, revision, [CONFIG], offline=offline) / CONFIG
        if not described.is_file() or "mttsg" not in read_json(described):
            raise ModelError(f"{repo}: not an mttsg model (its {CONFIG} on the hub is of another kind)")
        return download(repo, revision, FILES, offline=offline)


def check_push(repo: str, api: huggingface_hub.HfApi | None = None) -> None:
    """Check, before hours of training, that a model can be pushed.

    Args:
        repo: `user/name`, or the name of an organisation in place of the user's.
        api: of the hub; None uses the user's own.

    Raises:
        ConfigError: if `repo` is not of the form user/name.
        ModelError: if the user is not logged in, the token cannot write, or the name belongs to somebody else.
    """
    if not _ID.fullmatch(repo):
        raise ConfigError(f"{repo!r} is not the name of a model on the hub, which has the form user/name")
    from mttsg_core.utils.hf_hub import hub_errors

    with hub_errors(repo, repo, ModelError):
        user = (api or huggingface_hub.HfApi()).whoami()
    owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
    if repo.split("/")[0] not in owners:
        raise ModelError(f"{repo}: you may not push there: on the hub you are {' and '.join(owners)}")
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ModelError(f"{repo}: your token can only read: create one that can write and pass it to 'hf auth login'")


def push_model(folder: Path, repo: str, api: huggingface_hub.HfApi | None = None) -> str:
    """Push a finished model, with a model card if it has none; the training state is not pushed.

    Args:
        folder: written by `mttsg train`.
        repo: `user/name`; created if missing, public unless your settings on the hub say otherwise.
        api: of the hub; None uses the user's own.

    Returns:
        The address of the model's page.

    Raises:
        ModelError: if the training is not finished, or the hub refuses the model.
    """
    if not (folder / REPORT).is_file():
        raise ModelError(f"{folder}: no finished model to push (no {REPORT} in it)")
    from mttsg_core.utils.hf_hub import hub_errors

    write_card(folder, repo)
    api = api or huggingface_hub.HfApi()
    with hub_errors(repo, repo, ModelError):
        page = api.create_repo(repo, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=[*FILES, CARD], commit_message="Upload a model of mttsg"
        )
    return str(page)
