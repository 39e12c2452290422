"""Charts and sparklines as numbers and words, which a template draws as SVG.

Libraries that draw on the server put styles and scripts into the picture, which a strict content
security policy forbids, and their colours do not follow Django's dark mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ...models.explanation.durations import format_duration
from ...monitoring.statistics import Period, TimeBucket, percentile
from ..html.times import local_time, rough_duration
from ..html.values import format_count

#: Of the pictures, which are stretched to the room that they have.
WIDTH, HEIGHT = 600, 96
_SPARK_HEIGHT, _SPARK_STEP, _SPARK_BAR = 20, 4, 3
#: The share of its step that a bar is wide.
_BAR = 0.85
_MAX_TIMES = 6
#: From so many units on, a smaller unit beside them tells nothing.
_ROUGH = 10
_MS, _SECOND, _MINUTE, _HOUR, _DAY = 0.001, 1.0, 60.0, 3600.0, 86_400.0

Value = Callable[[TimeBucket], float | None]
Formatter = Callable[[float | None], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers: its class of colour, its name, its value of a bucket."""

    css: str
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Shape:
    """A bar, or the place of a step where the pointer shows its values."""

    css: str
    x: float
    y: float
    width: float
    height: float
    title: str = ""


@dataclass(slots=True)
class Chart:
    """One chart: its grid, bars or lines, axes in words, and a table with the same numbers."""

    title: str
    series: list[Series]
    axis: list[str]
    times: list[tuple[str, str, str]]
    is_bars: bool
    bars: list[Shape] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    hits: list[Shape] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT


def build_charts(buckets: Sequence[TimeBucket], period: Period) -> list[Chart]:
    """The charts of a period: what was done, waits, runs, and failures; none if nothing was."""
    if not any(bucket.done for bucket in buckets):
        return []
    done = [
        Series("st3-succeeded", _("succeeded"), lambda bucket: bucket.succeeded),
        Series("st3-failed", _("failed"), lambda bucket: bucket.failed),
    ]
    failed = [Series("st3-failed", _("failed"), lambda bucket: bucket.failure_rate)]
    return [
        _bar_chart(buckets, period, _done_title(period), done, _format_number),
        _line_chart(buckets, period, _("Waited"), _percentiles("waits")),
        _line_chart(buckets, period, _("Ran"), _percentiles("runs")),
        _bar_chart(buckets, period, _("Failed, share of done"), failed, format_share),
    ]


def sparkline(buckets: Sequence[TimeBucket], name: str) -> dict[str, Any]:
    """Thirty small bars: what was done, those with a failure marked; the meaning in words."""
    top = max((bucket.done for bucket in buckets), default=0) or 1
    total = format_count(sum(bucket.done for bucket in buckets))
    words = _("%(queue)s: %(number)s done in the last hour, per 2 minutes")
    bars = []
    for number, bucket in enumerate(buckets):
        height = max(1.0, round(bucket.done / top * (_SPARK_HEIGHT - 2), 1))
        css = "st3-bad" if bucket.failed else ""
        place = (number * _SPARK_STEP, round(_SPARK_HEIGHT - height, 1), _SPARK_BAR, height)
        bars.append(Shape(css, *place))
    width = len(buckets) * _SPARK_STEP
    return {"bars": bars, "width": width, "words": words % {"queue": name, "number": total}}


def format_share(share: float | None) -> str:
    """A share from 0 to 1 in percent: "4.2 %"; empty for None."""
    if share is None:
        return ""
    percent = share * 100
    return f"{formats.number_format(round(percent, 1), 0 if percent in (0, 100) else 1)} %"


def format_seconds(seconds: float | None) -> str:
    """A duration as short as a cell needs it: "2.4 s", "41 min", "7 h 55 min"; empty for None."""
    if seconds is None:
        return ""
    duration = timedelta(seconds=seconds)
    unit = _unit(seconds)
    is_long = unit > _MS and seconds >= _ROUGH * unit
    return rough_duration(duration) if is_long else format_duration(duration)


def _done_title(period: Period) -> str:
    return {
        Period.HOUR: _("Done, per 2 minutes"),
        Period.DAY: _("Done, per hour"),
        Period.WEEK: _("Done, per 6 hours"),
        Period.MONTH: _("Done, per day"),
    }[period]


def _percentiles(name: str) -> list[Series]:
    return [
        Series("st3-p50", "p50", lambda bucket: percentile(getattr(bucket, name), 0.5)),
        Series("st3-p95", "p95", lambda bucket: percentile(getattr(bucket, name), 0.95)),
    ]


def _bar_chart(
    buckets: Sequence[TimeBucket],
    period: Period,
    title: str,
    series: list[Series],
    format_value: Formatter,
) -> Chart:
    totals = [sum(one.value(bucket) or 0 for one in series) for bucket in buckets]
    is_share = format_value is format_share
    top = _round_up(max(totals) * 100) / 100 if is_share else max(2.0, _round_up(max(totals)))
    scale = 100 if is_share else 1
    words = f"{_trim_number(top * scale)}{' %' if is_share else ''}"
    axis = [words, _trim_number(top * scale / 2), "0"]
    chart = Chart(title, series, axis, _times(buckets, period), is_bars=True)
    step = WIDTH / len(buckets)
    for number, bucket in enumerate(buckets):
        base = float(HEIGHT)
        for one in series:
            height = (one.value(bucket) or 0) / top * HEIGHT
            if height:
                base -= height
                x = (number + (1 - _BAR) / 2) * step
                chart.bars.append(_shape(one.css, (x, base, step * _BAR, height)))
    _add_values(chart, buckets, period, format_value)
    return chart


def _line_chart(
    buckets: Sequence[TimeBucket], period: Period, title: str, series: list[Series]
) -> Chart:
    values = [value for bucket in buckets for one in series if (value := one.value(bucket))]
    top = _round_up_seconds(max(values, default=1.0))
    axis = [_format_axis(top), _trim_number(top / 2 / _unit(top)), "0"]
    chart = Chart(title, series, axis, _times(buckets, period), is_bars=False)
    for one in series:
        chart.lines += [(one.css, points) for points in _lines(buckets, one, top)]
    _add_values(chart, buckets, period, format_seconds)
    return chart


def _lines(buckets: Sequence[TimeBucket], series: Series, top: float) -> list[str]:
    """The points of each run of buckets that have a value; one alone is drawn as a dash."""
    step, lines, points = WIDTH / len(buckets), list[list[str]](), list[str]()
    for number, bucket in enumerate(buckets):
        value = series.value(bucket)
        if value is None:
            points = []
            continue
        if not points:
            lines.append(points)
        points.append(f"{(number + 0.5) * step:.1f},{HEIGHT - value / top * HEIGHT:.1f}")
    return [" ".join(line) if len(line) > 1 else _dash(line[0], step) for line in lines]


def _dash(point: str, step: float) -> str:
    x, y = point.split(",")
    return f"{float(x) - step / 4:.1f},{y} {float(x) + step / 4:.1f},{y}"


def _add_values(
    chart: Chart, buckets: Sequence[TimeBucket], period: Period, format_value: Formatter
) -> None:
    """The values of each step, for the pointer and for the table; the newest row first."""
    step = WIDTH / len(buckets)
    for number, bucket in enumerate(buckets):
        time = _format_begin(bucket.begin, period)
        cells = [format_value(one.value(bucket)) for one in chart.series]
        words = ", ".join(
            f"{one.name} {cell}" for one, cell in zip(chart.series, cells, strict=True) if cell
        )
        title = f"{time} · {words}" if words else time
        chart.hits.append(_shape("st3-hit", (number * step, 0, step, HEIGHT), title))
        if bucket.done:
            chart.rows.insert(0, [time, *cells])


def _shape(css: str, box: tuple[float, float, float, float], title: str = "") -> Shape:
    x, y, width, height = (round(side, 1) for side in box)
    return Shape(css, x, y, width, height, title)


def _round_up(value: float) -> float:
    """The next of 1, 2, 3, 5, 6, 10, ... times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value:
        size /= 10
    return next(size * step for step in (1, 2, 3, 5, 6, 10) if size * step >= value)


def _round_up_seconds(seconds: float) -> float:
    """The next round duration in the unit in which it is written."""
    unit = _unit(seconds)
    return _round_up(seconds / unit) * unit


def _unit(seconds: float) -> float:
    units = (_DAY, _HOUR, _MINUTE, _SECOND)
    return next((unit for unit in units if seconds >= unit), _MS)


def _format_axis(seconds: float) -> str:
    """A duration in one unit: "45 min", "1.5 h"."""
    unit = _unit(seconds)
    words = {
        _MS: _("{} ms"),
        _SECOND: _("{} s"),
        _MINUTE: pgettext("axis of a chart", "{} min"),
        _HOUR: pgettext("axis of a chart", "{} h"),
        _DAY: pgettext("axis of a chart", "{} d"),
    }[unit]
    return words.format(_trim_number(seconds / unit))


def _trim_number(value: float) -> str:
    """A number with a decimal only if it needs one."""
    value = round(value, 1)
    return formats.number_format(value if value % 1 else round(value), force_grouping=True)


def _format_number(value: float | None) -> str:
    return "" if value is None else _trim_number(value)


def _format_begin(begin: datetime, period: Period) -> str:
    local = local_time(begin)
    if period is Period.MONTH:
        return formats.date_format(local, "DATE_FORMAT")
    day = "" if period is Period.HOUR else f"{formats.date_format(local, 'MONTH_DAY_FORMAT')} "
    return f"{day}{formats.date_format(local, 'H:i')}"


def _times(buckets: Sequence[TimeBucket], period: Period) -> list[tuple[str, str, str]]:
    """The place in percent, the anchor and the words of up to six times below the chart."""
    last = len(buckets) - 1
    interval = -(-len(buckets) // _MAX_TIMES)
    times = []
    for number in [*range(0, last - interval + 1, interval), last]:
        begin = buckets[number].begin
        local = local_time(begin)
        is_clock = period in (Period.HOUR, Period.DAY)
        words = formats.date_format(local, "H:i" if is_clock else pgettext("date format", "j M"))
        place, anchor = f"{(number + 0.5) / len(buckets) * 100:.2f}%", "middle"
        if number in (0, last):
            place, anchor = ("0%", "start") if number == 0 else ("100%", "end")
        times.append((place, anchor, words))
    return times
