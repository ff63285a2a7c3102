"""Access to the Hugging Face Hub: downloads whose progress can be watched, waiting with limits, errors in one line."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants, snapshot_download
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

from mttsg_core.errors import ConfigError, MttsgError, error_summary
from mttsg_core.utils.downloads import DownloadMeter

_WORTH_A_RETRY = {"TimeoutException", "ReadError", "RemoteProtocolError"}  # of httpx, by whichever name it is imported
_ANSWER_SECONDS = 3.0


@dataclass(frozen=True)
class HubLimits:
    """How long to wait for the hub, which by itself waits without an end. One retry comes on top.

    Attributes:
        connect: seconds until the connection exists.
        read: seconds without any data.
    """

    connect: float = 10.0
    read: float = 30.0

    @classmethod
    def from_environment(cls) -> HubLimits:
        """Return the limits that the hub's own variables give: HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT."""
        given = {
            "connect": constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else None,
            "read": constants.HF_HUB_DOWNLOAD_TIMEOUT if "HF_HUB_DOWNLOAD_TIMEOUT" in os.environ else None,
        }
        return cls(**{name: float(seconds) for name, seconds in given.items() if seconds is not None})

    def apply(self) -> None:
        """Limit the waiting of the session that the hub's library shares among its requests in this process.

        Requests with a limit of their own keep it.
        """
        session = huggingface_hub.get_session()
        hooks = session.event_hooks
        others = [hook for hook in hooks["request"] if not isinstance(hook, _LimitWaiting)]
        session.event_hooks = {**hooks, "request": [*others, _LimitWaiting(self)]}


@dataclass(frozen=True)
class _LimitWaiting:
    """A hook that gives requests without limits some."""

    limits: HubLimits

    def __call__(self, request: Any) -> None:
        given = request.extensions.get("timeout") or {}
        own = {name: seconds for name, seconds in given.items() if seconds is not None}
        connect, read = self.limits.connect, self.limits.read
        request.extensions["timeout"] = {"connect": connect, "pool": connect, "read": read, "write": read, **own}


class _SilentBar(tqdm):
    """A progress bar for `tqdm_class` of downloads that draws nothing and passes the bytes on to a meter."""

    meter: DownloadMeter

    def __init__(self, *arguments: Any, **options: Any) -> None:
        name = str(options.get("name") or "")
        self._counts = options.get("unit") == "B" and not name.endswith(".transfer")  # of two bars of bytes, one
        super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        self.refresh()

    def refresh(self, *_: object, **__: object) -> None:
        if self._counts:
            self.meter.update(int(self.n), int(self.total or 0))

    def finish(self) -> None:
        """Report the end."""
        self.meter.finish(int(self.n), int(self.total or 0))


def download(
    repo: str,
    revision: str | None,
    patterns: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    offline: bool,
    limits: HubLimits | None = None,
) -> Path:
    """Download files of a repository that are missing or have changed, and return the folder of all of them.

    An interrupted download goes on where it stopped. `downloads.watch_downloads` tells how far it is.

    Args:
        repo: the repository's name.
        revision: a branch, tag or commit; None for the newest.
        patterns: of the files to download.
        exclude: patterns of files to leave out.
        offline: never use the network.
        limits: of the waiting; None for those of the environment.

    Raises:
        Exception: any of those that `hub_errors` translates.
    """
    options: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": list(patterns),
        "ignore_patterns": list(exclude),
        "local_files_only": offline,
    }
    if offline:
        return _snapshot(repo, options)
    (limits or HubLimits.from_environment()).apply()
    try:
        return _snapshot(repo, options)
    except (HTTPError, LocalEntryNotFoundError) as error:
        if not _is_worth_a_retry(error):
            raise
    return _snapshot(repo, options)


def _snapshot(repo: str, options: dict[str, Any]) -> Path:
    """Call the hub's library, with a meter of its own for this download."""
    bars: list[_SilentBar] = []
    meter = DownloadMeter(repo, Path(constants.HF_HUB_CACHE))

    class Bar(_SilentBar):
        def __init__(self, *arguments: Any, **values: Any) -> None:
            self.meter = meter
            super().__init__(*arguments, **values)
            if self._counts:
                bars.append(self)

    try:
        return Path(snapshot_download(repo, tqdm_class=Bar, **options))
    except RuntimeError as error:
        if "home directory" not in str(error):
            raise
        raise OSError("the home folder is unknown: set HF_HOME to a folder for downloads") from error
    finally:
        for bar in bars[:1]:
            bar.finish()


def _is_worth_a_retry(error: BaseException | None) -> bool:
    """Tell whether an answer was late or cut off, which may have been an accident; a name that is unknown stays so."""
    while error is not None:
        if any(kind.__name__ in _WORTH_A_RETRY for kind in type(error).__mro__):
            return True
        error = error.__cause__
    return False


def is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids the network."""
    return bool(constants.HF_HUB_OFFLINE)


@cache
def hub_offers(repo: str, seconds: float = _ANSWER_SECONDS) -> bool:
    """Tell whether the hub can be reached and has a public model of that name. The outcome is kept for this process.

    Where no name is resolved, or HF_HUB_OFFLINE is set, that takes no time.

    Args:
        repo: the model's name.
        seconds: to wait for the answer; twice as many if names are resolved slowly as well.
    """
    if is_offline():
        return False
    found = threading.Event()

    def ask() -> None:
        with suppress(MttsgError), hub_errors(repo, repo, ConfigError):
            HubLimits(seconds, seconds).apply()
            huggingface_hub.HfApi().model_info(repo, timeout=seconds)
            found.set()

    asking = threading.Thread(target=ask, daemon=True)  # resolving a name has no limit: it must not keep the program
    asking.start()
    asking.join(2 * seconds)
    return found.is_set()


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
