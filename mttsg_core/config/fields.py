"""Settings as dataclass fields: default, meaning and range of each, written once and checked when read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, TypeAlias, TypeVar

from mttsg_core.config.names import refuse_unknown, shown
from mttsg_core.errors import ConfigError

_Config = TypeVar("_Config")
_Value = TypeVar("_Value", bool, int, float, str)
_TYPES: Mapping[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may have. A bound that is None does not apply.

    Attributes:
        at_least, above: lower bound, included or not.
        at_most, below: upper bound, included or not.
        parity: "even" or "odd".
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    parity: str | None = None

    def violation(self, value: float) -> str | None:
        """Return what `value` must be instead, or None if it is in the range.

        >>> Range(at_least=0, below=1).violation(1.0)
        'less than 1'
        """
        if not _is_finite(value):
            return "a finite number"
        if self.at_least is not None and value < self.at_least:
            return f"at least {self.at_least:g}"
        if self.above is not None and value <= self.above:
            return f"more than {self.above:g}"
        if self.at_most is not None and value > self.at_most:
            return f"at most {self.at_most}"
        if self.below is not None and value >= self.below:
            return f"less than {self.below:g}"
        if self.parity is not None and value % 2 != (self.parity == "odd"):
            return self.parity
        return None

    def __str__(self) -> str:
        bounds = [
            (">=", self.at_least),
            (">", self.above),
            ("<=", self.at_most),
            ("<", self.below),
        ]
        parts = [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
        return ", ".join([*parts, *([self.parity] if self.parity else [])]) or "any number"


@dataclass(frozen=True)
class OneOf:
    """Names that a setting may have."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.names)


@dataclass(frozen=True)
class Form:
    """How a text must be made up.

    Attributes:
        pattern: regular expression of the whole text.
        description: of it, for people.
    """

    pattern: str
    description: str

    def violation(self, value: str) -> str | None:
        """Return what `value` must be instead, or None if it is made up so.

        >>> Form("[0-9]*", "digits").violation("1a")
        'digits'
        """
        return None if re.fullmatch(self.pattern, value) else self.description

    def __str__(self) -> str:
        return self.description


Limits: TypeAlias = Range | OneOf | Form

COUNT = Range(at_least=1)
WEIGHT = Range(at_least=0)
POSITIVE = Range(above=0)
SHARE = Range(at_least=0, below=1)
PROBABILITY = Range(at_least=0, at_most=1)
SIGNED = Range()


def setting(default: _Value, meaning: str, limits: Limits = WEIGHT) -> _Value:
    """Declare a field of a config class: its default, a line on what it means, and its range.

    Args:
        default: of the field.
        meaning: shown wherever settings are listed.
        limits: range of a number, the names that a text may be, or its form; has no effect on switches.
    """
    declared: _Value = field(default=default, metadata={"meaning": meaning, "limits": limits})
    return declared


def required(meaning: str, limits: Range = WEIGHT) -> Any:
    """Declare a field that has no default, like `setting`."""
    return field(metadata={"meaning": meaning, "limits": limits})


def from_mapping(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """Build a config from a mapping of its settings; settings that are not named keep their defaults.

    Raises:
        ConfigError: for an unknown name (naming the nearest known one), a missing setting, or a value of another type
            or out of range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"the settings{_table(kind)} are not an object")
    known = {declared.name: declared for declared in fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(values, known, f"setting{_table(kind)}")
    checked = {name: check_value(known[name], value, name) for name, value in values.items()}
    try:
        return kind(**checked)
    except TypeError as error:
        raise ConfigError(f"settings{_table(kind)}: {error}") from error


def check_value(declared: Field[Any], value: Any, name: str) -> Any:
    """Return a value for a field of a config class, in the field's type.

    Args:
        declared: the field.
        value: to check.
        name: of the setting in messages.

    Raises:
        ConfigError: if the value is of another type or out of range.
    """
    wanted = str(declared.type)
    is_wanted = isinstance(value, _TYPES[wanted])
    if not is_wanted or (wanted != "bool" and isinstance(value, bool)):
        raise ConfigError(f"{name} = {shown(value)}: must be {_KINDS[wanted]}")
    limits = declared.metadata.get("limits", SIGNED)
    if isinstance(limits, OneOf):
        refuse_unknown([value], limits.names, name)
    elif (isinstance(limits, Form) or not isinstance(value, bool | str)) and (violation := limits.violation(value)):
        raise ConfigError(f"{name} = {shown(value)}: must be {violation}")
    return float(value) if wanted == "float" else value


def to_mapping(config: Any) -> dict[str, Any]:
    """Return the settings of a config by name, the inverse of `from_mapping`."""
    return asdict(config)


def _is_finite(value: float) -> bool:
    """Tell whether a number is finite, and an integer small enough to be compared with fractions."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _table(kind: type) -> str:
    """Return where users write the settings of a config class: in the table [training], for `TrainingConfig`."""
    return f" in [{kind.__name__.removesuffix('Config').lower()}]"
