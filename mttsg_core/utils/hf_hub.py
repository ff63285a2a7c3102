"""Access to the Hugging Face Hub: downloads with a progress bar, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of the hub's own HTTP library
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from mttsg_core.errors import MttsgError, error_summary


class DownloadBar(tqdm):
    """A progress bar for `tqdm_class` of downloads: on a terminal only, and cleared at the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"disable": None, "leave": False, **options})  # type: ignore[no-untyped-call]


def download(
    repo: str, revision: str | None, patterns: Sequence[str], exclude: Sequence[str] = (), *, offline: bool
) -> Path:
    """Download files of a repository that are missing or have changed, and return the folder of all of them.

    Args:
        repo: the repository's name.
        revision: a branch, tag or commit; None for the newest.
        patterns: of the files to download.
        exclude: patterns of files to leave out.
        offline: never use the network.

    Raises:
        Exception: any of those that `hub_errors` translates.
    """
    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(exclude),
            local_files_only=offline,
            tqdm_class=DownloadBar,
        )
    except RuntimeError as error:
        if "home directory" not in str(error):
            raise
        raise OSError("the home folder is unknown: set HF_HOME to a folder for downloads") from error
    return Path(folder)


@contextmanager
def hub_errors(repo: str, label: str, error_type: type[MttsgError], *, offline: bool = False) -> Iterator[None]:
    """Translate errors of the hub into errors of this library, each with one line that says what to do.

    Args:
        repo: the repository's name.
        label: what messages call it.
        error_type: the type of the errors to raise.
        offline: whether the network was not to be used.
    """
    try:
        yield
    except (HTTPError, OSError, ValueError) as error:  # all errors of the hub are of one of these kinds
        raise error_type(f"{label}: {_reason(error, repo, offline=offline)}") from error


def _reason(error: Exception, repo: str, *, offline: bool) -> str:
    """Return what went wrong, and what to do about it. Special kinds come before those that they are kinds of."""
    match error:
        case LocalTokenNotFoundError():
            return "you are not logged in to the Hugging Face Hub; run 'hf auth login' or set HF_TOKEN"
        case GatedRepoError():
            return f"accept its terms on huggingface.co/{repo}, then run 'hf auth login'"
        case RepositoryNotFoundError():
            return "no such folder, and no such model on the Hugging Face Hub (if it is private, run 'hf auth login')"
        case RevisionNotFoundError():
            return "no such revision on the Hugging Face Hub"
        case LocalEntryNotFoundError():
            hub = "is not used when offline" if offline else "cannot be reached"
            return (
                f"no such folder, never downloaded, and the Hugging Face Hub {hub}: run once with the network, or name "
                "a folder that contains the model's files"
            )
        case HfHubHTTPError():
            status = error.response.status_code
            reason = "your token is invalid or lacks permission" if status in (401, 403) else error_summary(error)
            return f"refused by the Hugging Face Hub with status {status} ({reason})"
        case HTTPError():
            return f"the Hugging Face Hub cannot be reached ({error_summary(error)})"
    return error_summary(error)
