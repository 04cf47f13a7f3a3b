"""A chart's marks and the places of their labels, in the SVG's units; no label covers another."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 14, 46
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
"""The edges of a plot, for the template."""
LETTER, LINE = 6.7, 15
"""Width and height of a letter of a label at 12 units; on the wide side, to keep labels apart."""
BOLD = 1.1
"""How much wider a bold letter is."""
NEAR = 20
"""A label further away has a line that leads to it."""
WORTH = 4
"""How much further away a label goes to cover one square unit less."""
THIN = 4
"""How far apart the places are that a line takes, and twice their size: little, for a label over a line can be read."""
LONGEST_LABEL = 36
Corner = tuple[float, float]
Shape = Literal["baseline", "distilled", "quantized", "pruned", "labels", "other"]
"""What a mark looks like, by how its model was made; `labels`: trained on the labels alone."""


class Box(NamedTuple):
    """A rectangle that no label may cover."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that two rectangles share."""
        return self.cover([other])

    def cover(self, others: "Boxes") -> float:
        """The areas that it shares with others, in all."""
        left, top, right, bottom = np.asarray(others, dtype=np.float64).reshape(-1, 4).T
        widths = np.minimum(self.right, right) - np.maximum(self.left, left)
        heights = np.minimum(self.bottom, bottom) - np.maximum(self.top, top)
        areas = widths.clip(min=0) * heights.clip(min=0)
        # one after the other: the last digit decides between equals
        return float(sum(areas[areas > 0].tolist()))


Boxes = Sequence[Box] | NDArray[np.float64]
"""Rectangles, or their edges `[N, 4]`."""


@dataclass(frozen=True)
class Mark:
    """A point with error bars and label, in the SVG's units; `leader` where the label, of one line or two, stands apart.

    `dots` are the heights of the single seeds that it is the mean of. `numbered` where the label is a number,
    `important` where it comes before the others in the choice of a place.
    """

    lines: tuple[str, ...]
    x: float
    y: float
    low: float
    high: float
    left: float
    right: float
    box: Box
    leader: bool
    shape: Shape = "other"
    dots: tuple[float, ...] = ()
    numbered: bool = False
    important: bool = False
    bold: bool = False

    @property
    def label(self) -> str:
        """In one line."""
        return " ".join(self.lines)

    @property
    def width(self) -> float:
        """Of its label; around a number is room, for two side by side would read as one."""
        return max(map(len, self.lines)) * LETTER * (BOLD if self.bold else 1) + 4 * self.numbered

    @property
    def anchor(self) -> tuple[float, float]:
        """Where a leader meets the label: the nearest point of its box."""
        x = min(max(self.x, self.box.left), self.box.right)
        y = min(max(self.y, self.box.top), self.box.bottom)
        return round(x, 1), round(y, 1)


def place_labels(
    marks: Sequence[Mark], front: Sequence[Corner], arrows: Sequence[tuple[int, int]] = ()
) -> tuple[Mark, ...]:
    """Give each mark the nearest place for its label that covers no label, mark, error bar, arrow or part of the front.

    Args:
        marks: Whose labels have no place yet.
        front: The corners of the stairs.
        arrows: From one mark to another, by their places.
    """
    taken = [box for mark in marks for box in _occupied(mark)]
    for start, end in arrows:
        taken += _follow((marks[start].x, marks[start].y), (marks[end].x, marks[end].y))
    for (x, y), (next_x, next_y) in pairwise(front):
        taken.append(Box(min(x, next_x) - 1, min(y, next_y) - 1, max(x, next_x) + 1, max(y, next_y) + 1))
    labels: list[Box] = []
    placed = []
    for mark in sorted(marks, key=_rank):
        box, far = _choose_place(mark, taken, labels)
        labels.append(box)
        placed.append(replace(mark, box=box, leader=far > NEAR))
        if placed[-1].leader:
            taken += _follow((mark.x, mark.y), placed[-1].anchor)
    return tuple(placed)


def _follow(start: Corner, end: Corner) -> Iterator[Box]:
    """Small boxes along a line, which may be at any angle."""
    steps = max(1, round(math.dist(start, end) / THIN))
    for step in range(steps + 1):
        x, y = (one + (other - one) * step / steps for one, other in zip(start, end, strict=True))
        yield Box(x - THIN / 4, y - THIN / 4, x + THIN / 4, y + THIN / 4)


def _rank(mark: Mark) -> tuple[bool, bool, float, float]:
    """Who chooses first: of the others the numbers, which mean little apart from their marks."""
    return not mark.important, not mark.numbered, mark.y, mark.x


def _choose_place(mark: Mark, taken: Sequence[Box], labels: Sequence[Box]) -> tuple[Box, float]:
    """The place that costs least, with its distance; of equals the nearest.

    The nearest are tried first, and the search ends where the distance alone costs as much as the best so far: a chart of
    thirty models has a million pairs of boxes.
    """
    best, chosen = math.inf, (mark.box, 0.0)
    edges, others = np.asarray(taken), np.asarray(labels)
    for box, far in sorted(_candidates(mark, mark.width, len(mark.lines) * LINE), key=lambda each: each[1]):
        if far / WORTH >= best:
            break
        cost = _cost(box, edges, others) + far / WORTH
        if cost < best:
            best, chosen = cost, (box, far)
    return chosen


def _occupied(mark: Mark) -> tuple[Box, Box, Box]:
    return (
        Box(mark.x - 6, mark.y - 6, mark.x + 6, mark.y + 6),
        Box(mark.x - 3, mark.high, mark.x + 3, mark.low),
        Box(mark.left, mark.y - 3, mark.right, mark.y + 3),
    )


def _candidates(mark: Mark, width: float, height: float) -> Iterator[tuple[Box, float]]:
    """Places of a label with their distance: beside the mark, a little above or below, then anywhere."""
    middle = mark.y - height / 2
    right, left = mark.right - mark.x, mark.x - mark.left
    for shift in (0, -14, 14, -28, 28):
        for x, far in (
            (mark.x + 9, 0.0),
            (mark.x + right + 9, right),
            (mark.x - 9 - width, 1.0),
            (mark.x - left - 9 - width, left + 1.0),
            (mark.x - width / 2, 2.0),
        ):
            yield Box(x, middle + shift, x + width, middle + shift + height), abs(shift) * 0.7 + far
    for y in range(0, int(HEIGHT - BOTTOM - height), 8):
        for x in range(LEFT, max(LEFT + 1, int(WIDTH - width)), 10):
            nearest = math.hypot(max(x - mark.x, mark.x - x - width, 0), y - middle)
            yield Box(x, y, x + width, y + height), 25 + nearest


def _cost(box: Box, taken: Boxes, labels: Boxes) -> float:
    inside = box.overlap(Box(LEFT, 0, WIDTH, HEIGHT - BOTTOM))
    area = (box.right - box.left) * (box.bottom - box.top)
    # at least nothing: −1e-13 would decide between equals
    outside, unseen = max(area - inside, 0.0), max(area - box.overlap(Box(0, 0, WIDTH, HEIGHT)), 0.0)
    return 4 * outside + 99 * unseen + box.cover(taken) + 9 * box.cover(labels)
