"""Forms of times: seconds as numbers and text, clock times, milliseconds, decimal commas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.data.times import parse_milliseconds, parse_seconds, with_decimal_point


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (22, 22.0),
        (22.3, 22.3),
        ("22.3", 22.3),
        (" 22.3 ", 22.3),
        ("1e2", 100.0),
        (".5", 0.5),
        ("22.3s", 22.3),
        ("22.3 sec", 22.3),
        ("29200ms", 29.2),
        ("0:29.2", 29.2),
        ("00:29,200", 29.2),
        ("1:05", 65.0),
        ("90:00", 5400.0),
        ("00:00:06.240", 6.24),
        ("1:02:03", 3723.0),
        ("1:02:03.5", 3723.5),
        (-0.1, -0.1),
        (10**400, math.inf),
        (-(10**400), -math.inf),
    ],
)
def test_times(value: object, seconds: float) -> None:
    assert parse_seconds(value) == seconds


NO_TIMES = ["", "nan", "inf", "1_0", "29,2", "0:75", "1:5", "1:75:00", "1:00:00:12", "0:-1", "-0:10", "29h", "٣", "1 2"]


@pytest.mark.parametrize("value", [*NO_TIMES, "29. Feb", None, True, [1], {}])
def test_what_is_not_certainly_a_time_is_none(value: object) -> None:
    assert parse_seconds(value) is None


@given(st.integers(0, 9_999_999), st.integers(0, 3))
def test_a_clock_time_is_exactly_its_seconds(milliseconds: int, digits: int) -> None:
    """No sum of minutes and seconds is rounded: 0:29.2 is the number 29.2."""
    seconds = round(milliseconds / 1000, digits)
    minutes, rest = divmod(int(seconds), 60)
    fraction = f"{seconds:.{digits}f}".partition(".")[2]
    clock = f"{minutes}:{rest:02d}" + (f".{fraction}" if fraction else "")
    assert parse_seconds(clock) == seconds
    assert parse_seconds(f"{minutes // 60}:{minutes % 60:02d}:" + clock.partition(":")[2]) == seconds


def test_milliseconds() -> None:
    assert [parse_milliseconds(value) for value in (29200, "29200", "500.5", None, "0:29", "1s", [1])] == [
        29.2, 29.2, 0.5005, None, "0:29", "1s", [1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "certain", "expected"),
    [
        ("29,2", False, "29.2"),
        ("1,234", False, "1,234"),
        ("1,234", True, "1.234"),
        ("1.234,5", True, "1.234,5"),
        ("29.2", True, "29.2"),
        ("a,b", True, "a,b"),
        ("1,2,3", True, "1,2,3"),
    ],
)
def test_decimal_commas(text: str, certain: bool, expected: str) -> None:
    assert with_decimal_point(text, certain=certain) == expected
