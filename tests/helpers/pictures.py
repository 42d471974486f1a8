"""What is legible in a picture: texts that lie within it, and none of which covers another."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from matplotlib.text import Text


def require_legible(figure: Any) -> None:
    """Raise ``AssertionError`` for a text that is cut off, or that overlaps another by more than a hair."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    ticks = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    labels = {tick.label1 for axis in ticks for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())}
    drawn = {tick.label1 for axis in ticks for tick in axis._update_ticks()}  # those within the limits
    texts = [text for text in figure.findobj(Text) if text not in labels or text in drawn]
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    assert len(shown) >= 5
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0, f"cut off at the left: {text!r}"
        assert box.x1 <= figure.bbox.x1, f"cut off at the right: {text!r}"
        assert figure.bbox.y0 <= box.y0, f"cut off at the bottom: {text!r}"
        assert box.y1 <= figure.bbox.y1, f"cut off at the top: {text!r}"
    for (one, a), (other, b) in combinations(boxes, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 2 or high <= 2, f"one covers the other: {one!r}, {other!r}"
