"""Videos that are computed together, of which one that cannot be used costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mttsg_core.errors import FeatureError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def all_or_each(
    compute: Callable[[Sequence[_Item]], Iterable[_Result]], items: Sequence[_Item]
) -> list[_Result | FeatureError]:
    """Return what is computed of items together, or if that fails one by one: then the error of those that fail."""
    try:
        return [*compute(items)] if items else []
    except FeatureError as error:
        if len(items) == 1:
            return [error]
        return [result for item in items for result in all_or_each(compute, [item])]
