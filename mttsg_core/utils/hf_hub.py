"""Between here and the Hugging Face Hub: downloads that show that they go on, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is the one of its own HTTP library
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from mttsg_core.errors import MttsgError, brief


class DownloadBar(tqdm):
    """A bar with size and rate, on a terminal only, that is gone when all is here: `tqdm_class` of downloads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"disable": None, "leave": False, **options})  # type: ignore[no-untyped-call]


def download(
    repo: str, revision: str | None, wanted: Sequence[str], unwanted: Sequence[str] = (), *, offline: bool
) -> Path:
    """The folder of files of a repository. Only those are downloaded that are not here yet, or have changed.

    Args:
        repo: its name.
        revision: a branch, tag or commit; None takes the newest.
        wanted: patterns of the files.
        unwanted: patterns of those that are left out all the same.
        offline: never use the network.

    Raises:
        Exception: what `one_line` knows.
    """
    found = snapshot_download(
        repo,
        revision=revision,
        allow_patterns=list(wanted),
        ignore_patterns=list(unwanted),
        local_files_only=offline,
        tqdm_class=DownloadBar,
    )
    return Path(found)


@contextmanager
def one_line(repo: str, called: str, kind: type[MttsgError], *, offline: bool = False) -> Iterator[None]:
    """Say in one line what went wrong between here and the hub.

    Args:
        repo: the name that the hub was asked for.
        called: what it is for the user.
        kind: of the error that is raised.
        offline: whether the hub could not be asked.
    """
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise kind(f"{called}: you are not logged in to the hub: use 'hf auth login', or set HF_TOKEN") from error
    except GatedRepoError as error:
        raise kind(f"{called}: accept its terms on huggingface.co/{repo}, then run 'hf auth login'") from error
    except RepositoryNotFoundError as error:
        raise kind(
            f"{called}: no such folder, and no such model on the Hugging Face Hub (if it is private there, run "
            "'hf auth login')"
        ) from error
    except RevisionNotFoundError as error:
        raise kind(f"{called}: no such revision on the Hugging Face Hub") from error
    except LocalEntryNotFoundError as error:
        raise kind(
            f"{called}: no such folder, never downloaded, and the Hugging Face Hub "
            + ("may not be asked when offline" if offline else "cannot be reached")
            + ": run once with the network, or name a folder with its files"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = "your token is not valid, or may not do this" if status in (401, 403) else brief(error)
        raise kind(f"{called}: refused by the Hugging Face Hub with status {status} ({reason})") from error
    except HTTPError as error:
        raise kind(f"{called}: the Hugging Face Hub cannot be reached ({brief(error)})") from error
    except (OSError, ValueError) as error:
        raise kind(f"{called}: {brief(error)}") from error
