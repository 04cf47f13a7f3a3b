"""How numbers are written: the same in the page, the README, the terminal and the card."""

import math
from collections.abc import Sequence

from compress.reporting.schema import Interval

UNKNOWN = "–"
"""What stands for a number that is none."""


def format_significant(value: float, digits: int = 3) -> str:
    """A number with that many significant digits, never in scientific notation: 0.0123, 1.23, 123, 12345."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded if decimals else value:.{decimals}f}"


def format_bytes(count: float, digits: int = 3) -> str:
    """Bytes in powers of 1000: 512 B, 22.7 MB."""
    return _format_scaled(count, ("B", "kB", "MB", "GB", "TB"), digits)


def format_count(count: float) -> str:
    """A count in powers of 1000: 812, 4.39 M."""
    return _format_scaled(count, ("", "k", "M", "G", "T"), 3)


def _format_scaled(count: float, units: Sequence[str], digits: int) -> str:
    if not math.isfinite(count):
        return UNKNOWN
    if abs(count) < 1000:
        return f"{count:.0f} {units[0]}".strip()
    power = 0
    while abs(count) >= 999.5 and power < len(units) - 1:
        count /= 1000
        power += 1
    return f"{format_significant(count, digits)} {units[power]}"


def format_ratio(value: float) -> str:
    """How many times: 6.31×."""
    return f"{format_significant(value)}×" if math.isfinite(value) else UNKNOWN


def format_score(value: float) -> str:
    """A score as the metric gives it, three decimals."""
    return f"{value:.3f}".replace("-", "−") if math.isfinite(value) else UNKNOWN


def format_difference(interval: Interval) -> str:
    """A difference of scores with its interval, signs shown: +0.012 (−0.003 to +0.027)."""
    value, low, high = (
        f"{bound:+.3f}".replace("-", "−") if math.isfinite(bound) else UNKNOWN
        for bound in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def format_share(value: float) -> str:
    """A share in percent, one decimal: 97.1 %."""
    return f"{100 * value:.1f} %".replace("-", "−") if math.isfinite(value) else UNKNOWN


def format_points(difference: float) -> str:
    """A difference of two scores in points, a hundredth each, one decimal: −2.2 points."""
    if not math.isfinite(difference):
        return UNKNOWN
    text = f"{100 * difference:+.1f}"
    return f"{'±0.0' if float(text) == 0 else text.replace('-', '−')} points"


def format_seconds(seconds: float) -> str:
    """A duration: 4.2 s, 12 min, 3.5 h."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 90:
        return f"{format_significant(seconds, 2)} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_range(interval: Interval, style: str) -> str:
    """The bounds alone, in one of the styles `score`, `share`, `ratio`, `milliseconds`: 0.906–0.941."""
    if style == "score":
        return f"{format_score(interval.low)}–{format_score(interval.high)}"
    if style == "share":
        low, high = (format_share(bound).removesuffix(" %") for bound in (interval.low, interval.high))
        return f"{low}–{high}"
    return f"{format_significant(interval.low)}–{format_significant(interval.high)}"


def format_change(ratio: float, better: str, worse: str) -> str:
    """A ratio to the baseline in words: 4.2× smaller, 1.3× larger, no smaller (within half a percent); a dash where one of the two is nothing."""
    if not 0 < ratio < math.inf:
        return UNKNOWN
    if not differs(ratio):
        return f"no {better}"
    return f"{format_ratio(ratio)} {better}" if ratio > 1 else f"{format_ratio(1 / ratio)} {worse}"


def differs(ratio: float) -> bool:
    """Whether a ratio is told as a difference: half a percent is none."""
    return not 0.995 <= ratio < 1.005


def is_worse(ratio: float) -> bool:
    """Whether `format_change` tells a ratio upside down."""
    return ratio < 0.995


def format_change_range(interval: Interval) -> str:
    """The bounds of a ratio, in the sense in which `format_change` tells its value: of 1.11× slower 1.02–1.23."""
    if not is_worse(interval.value):
        return format_range(interval, "ratio")
    low, high = (1 / bound if bound else math.inf for bound in (interval.high, interval.low))
    return format_range(Interval(value=1 / interval.value, low=low, high=high), "ratio")


def format_change_with_range(interval: Interval, better: str, worse: str, *, between: str = " ") -> str:
    """A ratio in words with its bounds, both in the same sense: 1.11× slower (1.02–1.23).

    Args:
        interval: The ratio.
        better: Where it is greater than 1.
        worse: Where it is less.
        between: What stands before the brackets.
    """
    return f"{format_change(interval.value, better, worse)}{between}({format_change_range(interval)})"
