"""How a download from the Hugging Face Hub shows that it goes on."""

from __future__ import annotations

from typing import Any

from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]


class DownloadBar(tqdm):
    """A bar with size and rate, on a terminal only, that is gone when all is here: `tqdm_class` of downloads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"disable": None, "leave": False, **options})  # type: ignore[no-untyped-call]
