"""What the values of options mean: those that were given, numbers in lists, rows that are skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mttsg_cli.console import Reporter
from mttsg_core.errors import ConfigError
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.evaluation.metrics import MetricConfig
    from mttsg_core.features.cluster import ClusterOptions

_Number = TypeVar("_Number", int, float)

_SHOWN_ROWS = 3  # bad rows that are shown without --verbose


def given(**options: Any) -> dict[str, Any]:
    """Return the options that the user gave; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def feature_places(features: Sequence[str] | None, data: Path) -> list[str] | None:
    """Return the values of --features with the data folder for `{data}`, as files of settings write it."""
    return None if features is None else [place.replace("{data}", str(data)) for place in features]


def only(values: Sequence[Path] | None, option: str, instead: str = "run the command for each") -> Path | None:
    """Return the value of an option that can be given once, or None.

    Args:
        values: those that were given.
        option: its name.
        instead: what to do with several.

    Raises:
        ConfigError: if it was given several times: of two models or files, none is silently left out.
    """
    if values and len(values) > 1:
        shown = " and ".join(f"{option} {value}" for value in values)
        raise ConfigError(f"{shown}: give one of them, and {instead}")
    return values[0] if values else None


def cluster_of(ray: str | None, gpus_per_worker: float | None, device: str) -> ClusterOptions | None:
    """Return the cluster of --ray, or None. Raises ConfigError if its options cannot be used."""
    if ray is None:
        if gpus_per_worker is not None:
            raise ConfigError("--gpus-per-worker is for --ray ADDRESS: on this computer all workers share one encoder")
        return None
    from mttsg_core.features.cluster import ClusterOptions

    return ClusterOptions(ray, gpus_per_worker, device)


def report_problems(reporter: Reporter, problems: Sequence[Problem]) -> None:
    """Warn about skipped rows: the first few and their number, or with --verbose each of them."""
    bad_rows = BadRows(reporter)
    for problem in problems:
        bad_rows.add(problem)
    bad_rows.report_number()


class BadRows:
    """Warns about skipped rows as they are met, as `report_problems` does."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._number = 0

    def add(self, problem: Problem) -> None:
        """Warn about a row, if it is one of the first or --verbose is given."""
        self._number += 1
        if self._reporter.verbose or self._number <= _SHOWN_ROWS:
            self._reporter.warn(str(problem))

    def report_number(self) -> None:
        """Warn about the number of rows, if there were any."""
        if self._number:
            all_shown = self._reporter.verbose or self._number <= _SHOWN_ROWS
            hint = "" if all_shown else " (--verbose shows each)"
            self._reporter.warn(f"{count(self._number, 'bad row')} skipped{hint}")


def metric_config(at: str, iou: str, *, strict: bool, precision: bool = True, highlights: bool = True) -> MetricConfig:
    """Return the figures that --at, --iou, --strict-iou, --map and --highlights ask for.

    Raises:
        ConfigError: if they are not numbers separated by commas, as in `1,5`, or out of range.
    """
    from mttsg_core.evaluation.metrics import MetricConfig

    return MetricConfig(_numbers("--at", at, int), _numbers("--iou", iou, float), strict, precision, highlights)


def parts_lists(texts: Sequence[str]) -> list[list[str]]:
    """Return the parts that each --without of an ablation names: separated by commas, or `plain` for all modules."""
    from mttsg_core.workflows.ablation_plan import MODULES

    return [list(MODULES) if text == "plain" else parts([text]) for text in texts]


def parts(texts: Sequence[str]) -> list[str]:
    """Return the parts that all --without of a training name, separated by commas."""
    return [part.strip() for text in texts for part in text.split(",")]


def seed_list(text: str) -> tuple[int, ...]:
    """Return the seeds that --seeds names: `3` is the first three, `4,7` these two.

    Raises:
        ConfigError: if they are not whole numbers, separated by commas, or there are none.
    """
    numbers = _numbers("--seeds", text, int)
    if numbers[0] < 0 or (len(numbers) == 1 and "," not in text and numbers[0] < 1):
        raise ConfigError(f"--seeds: how many, as in 3, or which, as in 0,1,2; not {text!r}")
    return tuple(range(numbers[0])) if len(numbers) == 1 and "," not in text else numbers


def _numbers(option: str, text: str, number: Callable[[str], _Number]) -> tuple[_Number, ...]:
    """Parse numbers separated by commas, ascending and each once. Brackets around them are allowed, as in TOML."""
    try:
        return tuple(sorted({number(part) for part in text.strip("[](), ").split(",")}))
    except ValueError:
        raise ConfigError(f"{option}: numbers separated by commas, not {text!r}") from None


def gigabytes(given: float | None) -> int | None:
    """Return the bytes of an amount of memory in GB.

    >>> gigabytes(0.5), gigabytes(None)
    (500000000, None)
    """
    return None if given is None else round(given * 1e9)
