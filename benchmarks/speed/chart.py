"""Draw a chart from the JSON files of one or several benchmarks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Of each panel: the figure, its heading, and whether more is better.
PANELS = (
    ("drain rate", "drained per second", True),
    ("enqueue rate", "enqueued per second, one by one", True),
    ("bulk rate", "enqueued per second, in bulk", True),
    ("latency p50", "milliseconds until an idle worker starts a task", False),
)
_OURS, _LIMIT, _PEER = "#1b7f5c", "#b8b8b8", "#5b7db1"


def draw(sources: Sequence[Path], target: Path) -> None:
    """Draw the medians of ``sources`` into ``target``; its suffix selects the format.

    The thin line at a bar goes from the smallest to the largest run. Needs matplotlib, which the
    extra ``bench`` installs.
    """
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams |= {"svg.hashsalt": "speed", "svg.fonttype": "none"}
    from matplotlib import pyplot

    entries: dict[str, Mapping[str, Any]] = {}
    for source in sources:
        entries |= json.loads(source.read_text(encoding="utf-8"))["entries"]
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 2 + 0.32 * len(entries)))
    for axis, (name, heading, is_more_better) in zip(axes.flat, PANELS, strict=True):
        _panel(axis, entries, name, is_more_better)
        axis.set_title(heading, loc="left", fontsize=11)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with a fixed salt, equal figures give an equal file.
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def _panel(axis: Any, entries: Mapping[str, Any], name: str, is_more_better: bool) -> None:
    found = {
        title: figures["figures"][name]
        for title, figures in entries.items()
        if name in figures["figures"]
    }
    order = sorted(found, key=lambda title: found[title]["median"], reverse=not is_more_better)
    medians = [found[title]["median"] for title in order]
    spans = [
        [median - found[title]["min"] for title, median in zip(order, medians, strict=True)],
        [found[title]["max"] - median for title, median in zip(order, medians, strict=True)],
    ]
    bars = axis.barh(order, medians, xerr=spans, ecolor="#444444", color=[*map(_color, order)])
    if not is_more_better:  # from less than a millisecond to seconds
        axis.set_xscale("log")
    axis.bar_label(bars, fmt="{:,.0f}" if is_more_better else "{:,.1f}", padding=4, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.margins(x=0.15)
    axis.spines[["top", "right"]].set_visible(False)


def _color(title: str) -> str:
    if title.startswith("raw limit"):
        return _LIMIT
    return _OURS if title.startswith("ours") else _PEER
