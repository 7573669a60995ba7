"""Charts as SVG text, to stand in a page; no I/O."""

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "curves", "stacks"]

_WIDTH = 760
_LABEL_WIDTH = 210
_VALUE_WIDTH = 90
_BAR_WIDTH = _WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
_ROW = 26
_PLOT_HEIGHT = 260
_MARGIN = (56, 16, 30, 34)  # left, top, right, bottom
_COLOURS = ("#3366cc", "#e07b39", "#3a9d5d", "#b3447a", "#8a6d3b", "#5b6770")


def bars(values: Mapping[str, float], unit: str, *, is_logarithmic: bool = False) -> str:
    """Return a chart with a horizontal bar for each value.

    :param is_logarithmic: for values of very different size; all of them above zero.
    """
    largest = max(values.values(), default=0.0)
    least = min(values.values(), default=0.0)

    def length(value: float) -> float:
        if not is_logarithmic:
            return value / largest if largest else 0.0
        low = math.floor(math.log10(least)) if least > 0 else 0
        high = math.log10(largest) if largest > 0 else 1
        return (math.log10(value) - low) / max(high - low, 1e-9) if value > 0 else 0.0

    rows = []
    for number, (label, value) in enumerate(values.items()):
        rows += _row(number, label, f"{_number(value)} {unit}", [(length(value), 0)])
    return _svg(_ROW * len(values), rows)


def stacks(values: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Return a chart with a horizontal bar for each row, divided as its sum is."""
    names = list(dict.fromkeys(name for parts in values.values() for name in parts))
    rows = _legend(names)
    for number, (label, parts) in enumerate(values.items(), 1):
        whole = sum(parts.values())
        shares = [(parts.get(name, 0.0) / (whole or 1.0), names.index(name)) for name in names]
        rows += _row(number, label, f"{_number(whole)} {unit}", shares)
    return _svg(_ROW * (len(values) + 1), rows)


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_title: str,
    y_title: str,
    x_labels: Sequence[str] = (),
    is_logarithmic: bool = False,
) -> str:
    """Return a chart of lines through points.

    :param x_labels: names of x = 0, 1, 2 and so on, in place of numbers.
    :param is_logarithmic: whether y is; all of its values are above zero then.
    """
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    left, top, right, bottom = _MARGIN
    width, height = _WIDTH - left - right, _PLOT_HEIGHT - top - bottom - _ROW
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    scale = _logarithm if is_logarithmic else float
    ticks = _ticks(max(y for _, y in points), min(y for _, y in points), is_logarithmic)
    y_low, y_high = scale(ticks[0]), scale(ticks[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1.0)
        up = (scale(y) - y_low) / ((y_high - y_low) or 1.0)
        return left + across * width, top + _ROW + height * (1 - up)

    drawn = _legend(list(lines))
    for tick in ticks:
        _, y = at(x_low, tick)
        drawn.append(
            f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        drawn.append(_text(left - 6, y + 4, _number(tick), "end"))
    marks: list[tuple[float, str]] = list(enumerate(x_labels))
    marks = marks or [(x, _number(x)) for x in _ticks(x_high, x_low, False)]
    for value, label in marks:
        if x_low <= value <= x_high:
            x, _ = at(value, ticks[0])
            drawn.append(_text(x, top + _ROW + height + 16, label, "middle"))
    drawn.append(_text(left + width, _PLOT_HEIGHT - 2, x_title, "end"))
    drawn.append(_text(2, top + _ROW - 8, y_title, "start"))
    for number, line in enumerate(lines.values()):
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in line)
        colour = _COLOURS[number % len(_COLOURS)]
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
    return _svg(_PLOT_HEIGHT, drawn)


def _svg(height: float, drawn: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"{''.join(drawn)}</svg>"
    )


def _row(number: int, label: str, value: str, shares: Sequence[tuple[float, int]]) -> list[str]:
    y, x = number * _ROW, float(_LABEL_WIDTH)
    drawn = [_text(_LABEL_WIDTH - 8, y + 17, label, "end")]
    for share, colour in shares:
        width = max(0.0, share) * _BAR_WIDTH
        fill = _COLOURS[colour % len(_COLOURS)]
        drawn.append(
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="18" fill="{fill}"/>'
        )
        x += width
    drawn.append(_text(x + 6, y + 17, value, "start"))
    return drawn


def _legend(names: Sequence[str]) -> list[str]:
    drawn, x = [], float(_MARGIN[0])
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn.append(f'<rect x="{x:.0f}" y="6" width="12" height="12" fill="{colour}"/>')
        drawn.append(_text(x + 17, 16, name, "start"))
        x += 40 + 7.2 * len(name)
    return drawn


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _logarithm(value: float) -> float:
    return math.log10(max(value, 1e-12))


def _ticks(high: float, low: float, is_logarithmic: bool) -> list[float]:
    """Return round values from at most the lowest (or 0) to at least the highest one."""
    if is_logarithmic:
        first, last = math.floor(_logarithm(low)), math.ceil(_logarithm(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    if high <= 0:
        return [0.0, 1.0]
    rough = high / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    return [step * number for number in range(math.ceil(high / step) + 1)]


def _number(value: float) -> str:
    """Write a number with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
