"""A chart's axes: from values to the SVG's units, and which values are written at them."""

import math

from compress.reporting.marks import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


class LogAxis:
    """Places positive values from left to right by their logarithm, with room at either end."""

    def __init__(self, low: float, high: float) -> None:
        margin = max(math.log10(high / low) * 0.12, 0.08)
        self.low, self.high = math.log10(low) - margin, math.log10(high) + margin

    def place(self, value: float) -> float:
        """Where a value lies, in the SVG's units."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        """The values at which something is written."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        found: list[float] = []
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), [1 + step / 10 for step in range(90)]):
            values = [digit * 10.0**power for power in powers for digit in digits]
            found = [value for value in values if self.low <= math.log10(value) <= self.high]
            if len(found) >= 3:
                break
        return found[:: max(1, len(found) // 4)]


class LinearAxis:
    """Places scores from bottom to top, with room at either end."""

    def __init__(self, low: float, high: float) -> None:
        margin = max((high - low) * 0.08, 0.004)
        self.low, self.high = low - margin, high + margin
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / 10))
        steps = [digit * power * scale for scale in (1, 10) for digit in (1, 2, 2.5, 5)]
        self.step = next(step for step in steps if (self.high - self.low) / step <= 6)

    def place(self, value: float) -> float:
        """Where a value lies, in the SVG's units."""
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def write(self, value: float) -> str:
        """A tick's value, in as many decimals as the step between two needs."""
        decimals = next((n for n in range(2, 9) if math.isclose(self.step, round(self.step, n))), 9)
        return f"{value:.{decimals}f}".replace("-", "−")

    def ticks(self) -> list[float]:
        """The values at which something is written."""
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return [index * self.step for index in range(first, last + 1)]
