"""Charts as shapes, for a template to draw as SVG.

Libraries that draw on the server put styles and scripts into the picture, which a strict content
security policy forbids, and their colours do not follow Django's dark mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from ...models.explanation.durations import format_duration
from ...monitoring.statistics import Period, TimeBucket, percentile

WIDTH, HEIGHT = 640.0, 150.0
_LEFT, _BOTTOM, _TOP = 56.0, 20.0, 8.0
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT, HEIGHT - _BOTTOM - _TOP
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """One bar, or one point of a line, with its tooltip."""

    x: float
    y: float
    width: float
    height: float
    series: str
    tooltip: str


@dataclass(slots=True)
class Chart:
    """One chart: shapes, lines between points, and the labels of its axes."""

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
    """The time span of each bar, and the labels of the time axis; shared by all charts."""

    spans: list[str]
    times: list[tuple[float, str]]


Value = Callable[[TimeBucket], float | None]
Formatter = Callable[[float], str]


def build_charts(buckets: Sequence[TimeBucket], period: Period) -> list[Chart]:
    """The charts of a period: finished tasks, waiting time, run time, failure rate."""
    axis = _Axis([_format_span(bucket, period) for bucket in buckets], _axis_times(buckets, period))
    failure_rate: dict[str, tuple[str, Value]] = {"rate": (_("failed"), attrgetter("failure_rate"))}
    return [
        _stacked_chart(buckets, axis),
        _line_chart(buckets, axis, _("Waiting time"), _percentile_series("waits"), _format_seconds),
        _line_chart(buckets, axis, _("Run time"), _percentile_series("runs"), _format_seconds),
        _line_chart(buckets, axis, _("Failure rate"), failure_rate, _format_percent),
    ]


def _percentile_series(name: str) -> dict[str, tuple[str, Value]]:
    return {
        "median": (_("median"), lambda bucket: percentile(getattr(bucket, name), 0.5)),
        "tail": (_("95 % below"), lambda bucket: percentile(getattr(bucket, name), 0.95)),
    }


def _stacked_chart(buckets: Sequence[TimeBucket], axis: _Axis) -> Chart:
    names = {"success": _("succeeded"), "failed": _("failed")}
    top = _round_up(max((bucket.succeeded + bucket.failed for bucket in buckets), default=0))
    labels = _format_number(top), _format_number(top / 2)
    chart = Chart(_("Finished tasks"), names, *labels, axis.times)
    step = _PLOT_WIDTH / len(buckets)
    for number, bucket in enumerate(buckets):
        tooltip = f"{axis.spans[number]}: {bucket.succeeded} {names['success']}, "
        tooltip += f"{bucket.failed} {names['failed']}"
        stacked_height = 0.0
        for series, count in (("success", bucket.succeeded), ("failed", bucket.failed)):
            if not count:
                continue
            height = count / top * _PLOT_HEIGHT
            y = chart.base - stacked_height - height
            x = _LEFT + number * step
            chart.shapes.append(_shape((x, y, step * 0.85, height), series, tooltip))
            stacked_height += height
        if bucket.succeeded or bucket.failed:
            counts = map(_format_number, (bucket.succeeded, bucket.failed))
            chart.rows.append([axis.spans[number], *counts])
    return chart


def _line_chart(
    buckets: Sequence[TimeBucket],
    axis: _Axis,
    title: str,
    series: dict[str, tuple[str, Value]],
    format_value: Formatter,
) -> Chart:
    values = {name: [of(bucket) for bucket in buckets] for name, (_label, of) in series.items()}
    top = _round_up(max((v for s in values.values() for v in s if v is not None), default=0))
    names = {name: label for name, (label, _value_of) in series.items()}
    chart = Chart(title, names, format_value(top), format_value(top / 2), axis.times)
    step = _PLOT_WIDTH / len(buckets)
    labels = {name: ["" if v is None else format_value(v) for v in s] for name, s in values.items()}
    for name, series_values in values.items():
        points: list[str] = []
        for number, value in enumerate(series_values):
            if value is None:
                continue
            x = _LEFT + (number + 0.5) * step
            y = chart.base - value / top * _PLOT_HEIGHT
            tooltip = f"{axis.spans[number]}: {names[name]} {labels[name][number]}"
            chart.shapes.append(_shape((x - 2.5, y - 2.5, 5, 5), name, tooltip))
            points.append(f"{x:.1f},{y:.1f}")
        chart.lines.append((name, " ".join(points)))
    rows = zip(axis.spans, *labels.values(), strict=True)
    chart.rows += [[span, *cells] for span, *cells in rows if any(cells)]
    return chart


def _shape(box: tuple[float, float, float, float], series: str, tooltip: str) -> Shape:
    x, y, width, height = (round(side, 1) for side in box)
    return Shape(x, y, width, height, series, tooltip)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value:
        size /= 10
    return next(size * step for step in (1, 2, 5, 10, 20) if size * step >= value)


def _format_number(value: float) -> str:
    return formats.number_format(round(value, 1) if value % 1 else round(value))


def _format_percent(value: float) -> str:
    return f"{formats.number_format(round(value * 100, 1))} %"


def _format_seconds(value: float) -> str:
    return format_duration(timedelta(seconds=value))


def _format_span(bucket: TimeBucket, period: Period) -> str:
    begin = _local_begin(bucket)
    if period is Period.MONTH:
        return formats.date_format(begin, "DATE_FORMAT")
    day = "" if period is Period.HOUR else f"{formats.date_format(begin, 'MONTH_DAY_FORMAT')} "
    return f"{day}{formats.date_format(begin, 'H:i')}"


def _axis_times(buckets: Sequence[TimeBucket], period: Period) -> list[tuple[float, str]]:
    step = _PLOT_WIDTH / len(buckets)
    interval = max(1, len(buckets) // _TICKS)
    time_format = "H:i" if period in (Period.HOUR, Period.DAY) else "m-d"
    return [
        (round(_LEFT + number * step, 1), formats.date_format(_local_begin(bucket), time_format))
        for number, bucket in enumerate(buckets)
        if number % interval == 0
    ]


def _local_begin(bucket: TimeBucket) -> Any:
    return timezone.localtime(bucket.begin) if timezone.is_aware(bucket.begin) else bucket.begin
