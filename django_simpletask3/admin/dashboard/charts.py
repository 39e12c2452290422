"""Charts as shapes, to be drawn by a template as SVG.

Not by a library: those that draw on the server write their styles and scripts into the picture,
which a strict content security policy forbids, and their colours do not follow Django's dark mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from ...monitoring.statistics import Period, TimeBucket, percentile
from ..html import times

WIDTH, HEIGHT = 640.0, 150.0
_LEFT, _BOTTOM, _TOP = 56.0, 20.0, 8.0
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT, HEIGHT - _BOTTOM - _TOP
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """One bar, or one point of a line, with what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    series: str
    said: str


@dataclass(slots=True)
class Chart:
    """One picture: shapes, lines between points, and the words at its axes."""

    title: str
    names: dict[str, str]
    top: str
    middle: str
    times: list[tuple[float, str]]
    rows: list[list[str]] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    base: float = HEIGHT - _BOTTOM
    ceiling: float = _TOP
    center: float = _TOP + _PLOT_HEIGHT / 2

    @property
    def is_empty(self) -> bool:
        return not self.shapes


@dataclass(frozen=True, slots=True)
class _Axis:
    """When each bar was, and the words below some of them; the same in every picture."""

    spans: list[str]
    times: list[tuple[float, str]]


Value = Callable[[TimeBucket], float | None]
Words = Callable[[float], str]


def charts(bars: Sequence[TimeBucket], period: Period) -> list[Chart]:
    """What the dashboard shows of a period."""
    axis = _Axis([_span(bar, period) for bar in bars], _times(bars, period))
    return [
        _stacked(bars, axis),
        _lines(bars, axis, _("Waiting time"), _of("waits"), _seconds),
        _lines(bars, axis, _("Run time"), _of("runs"), _seconds),
        _lines(bars, axis, _("Failure rate"), {"rate": (_("failed"), _rate)}, _percent),
    ]


def _of(name: str) -> dict[str, tuple[str, Value]]:
    return {
        "median": (_("median"), lambda bar: percentile(getattr(bar, name), 0.5)),
        "tail": (_("95 % below"), lambda bar: percentile(getattr(bar, name), 0.95)),
    }


def _rate(bar: TimeBucket) -> float | None:
    return bar.failure_rate


def _stacked(bars: Sequence[TimeBucket], axis: _Axis) -> Chart:
    names = {"success": _("succeeded"), "failed": _("failed")}
    top = _nice(max((bar.succeeded + bar.failed for bar in bars), default=0))
    chart = Chart(_("Finished tasks"), names, _whole(top), _whole(top / 2), axis.times)
    step = _PLOT_WIDTH / len(bars)
    for number, bar in enumerate(bars):
        said = f"{axis.spans[number]}: {bar.succeeded} {names['success']}, "
        said += f"{bar.failed} {names['failed']}"
        below = 0.0
        for series, count in (("success", bar.succeeded), ("failed", bar.failed)):
            if not count:
                continue
            height = count / top * _PLOT_HEIGHT
            y = chart.base - below - height
            x = _LEFT + number * step
            chart.shapes.append(_shape((x, y, step * 0.85, height), series, said))
            below += height
        if bar.succeeded or bar.failed:
            chart.rows.append([axis.spans[number], _whole(bar.succeeded), _whole(bar.failed)])
    return chart


def _lines(
    bars: Sequence[TimeBucket],
    axis: _Axis,
    title: str,
    series: dict[str, tuple[str, Value]],
    words: Words,
) -> Chart:
    values = {name: [of(bar) for bar in bars] for name, (_label, of) in series.items()}
    top = _nice(max((v for each in values.values() for v in each if v is not None), default=0))
    names = {name: label for name, (label, _of) in series.items()}
    chart = Chart(title, names, words(top), words(top / 2), axis.times)
    step = _PLOT_WIDTH / len(bars)
    told = {name: ["" if v is None else words(v) for v in each] for name, each in values.items()}
    for name, each in values.items():
        points: list[str] = []
        for number, value in enumerate(each):
            if value is None:
                continue
            x = _LEFT + (number + 0.5) * step
            y = chart.base - value / top * _PLOT_HEIGHT
            said = f"{axis.spans[number]}: {names[name]} {told[name][number]}"
            chart.shapes.append(_shape((x - 2.5, y - 2.5, 5, 5), name, said))
            points.append(f"{x:.1f},{y:.1f}")
        chart.lines.append((name, " ".join(points)))
    rows = zip(axis.spans, *told.values(), strict=True)
    chart.rows += [[span, *cells] for span, *cells in rows if any(cells)]
    return chart


def _shape(box: tuple[float, float, float, float], series: str, said: str) -> Shape:
    x, y, width, height = (round(side, 1) for side in box)
    return Shape(x, y, width, height, series, said)


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value:
        size /= 10
    return next(size * step for step in (1, 2, 5, 10, 20) if size * step >= value)


def _whole(value: float) -> str:
    return formats.number_format(round(value, 1) if value % 1 else round(value))


def _percent(value: float) -> str:
    return f"{formats.number_format(round(value * 100, 1))} %"


def _seconds(value: float) -> str:
    return times.in_words(timedelta(seconds=value))


def _span(bar: TimeBucket, period: Period) -> str:
    begin: Any = timezone.localtime(bar.begin) if timezone.is_aware(bar.begin) else bar.begin
    if period is Period.MONTH:
        return formats.date_format(begin, "DATE_FORMAT")
    day = "" if period is Period.HOUR else f"{formats.date_format(begin, 'MONTH_DAY_FORMAT')} "
    return f"{day}{formats.date_format(begin, 'H:i')}"


def _times(bars: Sequence[TimeBucket], period: Period) -> list[tuple[float, str]]:
    step = _PLOT_WIDTH / len(bars)
    every = max(1, len(bars) // _TICKS)
    short = "H:i" if period in (Period.HOUR, Period.DAY) else "m-d"
    return [
        (round(_LEFT + number * step, 1), formats.date_format(_local(bar), short))
        for number, bar in enumerate(bars)
        if number % every == 0
    ]


def _local(bar: TimeBucket) -> Any:
    return timezone.localtime(bar.begin) if timezone.is_aware(bar.begin) else bar.begin
