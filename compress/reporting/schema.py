"""What a report says: frozen values, computed once, from which every page, table and card is worded."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal

from compress.recipes.values import Frozen
from compress.runs import SCHEMA_VERSION, Batches, Run

if TYPE_CHECKING:
    from compress.statistics import Estimate

CaveatKind = Literal[
    "different-data",
    "no-retention",
    "like-constant",
    "not-evaluated",
    "several-evaluations",
    "unresolved",
    "truncated",
    "other-length",
    "partial-split",
    "not-measured",
    "no-common-session",
    "separate-sessions",
    "timing-spread",
    "selected-on-validation",
    "weak-teacher",
    "below-published",
    "teacher-missing",
    "parent-made-anew",
    "single-seed",
    "uncommitted-changes",
    "other-engine",
]


class Interval(Frozen):
    """A value with the bounds of its interval or spread; which of the two, and its unit, the field says."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: "Estimate") -> "Interval":
        """An estimate with its bounds."""
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)


class ScoreResult(Frozen):
    """A metric of one model on one split.

    `score` has a 95 % bootstrap interval over the `n` examples. `retention` is the share of the baseline's
    score that is kept, with a paired 95 % interval; None for the baseline itself and where the two were not
    scored on the same examples (`comparable` is false then) or the baseline is no better than the best constant answer.
    """

    split: str
    metric: str
    n: int
    score: Interval
    retention: Interval | None
    comparable: bool
    evaluation: str
    engine: str
    batches: Batches
    truncated: int


class Fidelity(Frozen):
    """How well a model stands in for the baseline on the `n` examples of a split, and how well it knows itself.

    `agreement` is the share of equal predictions (Stanton et al. 2021, "Does Knowledge Distillation Really Work?"), of a
    regression the Pearson correlation of the two, with a 95 % interval; None for the baseline itself and where the two did not
    answer the same examples. `calibration_error` is the expected one (`compress.calibration`), None for a regression.
    """

    split: str
    n: int
    agreement: Interval | None
    calibration_error: float | None


class Condition(Frozen):
    """Under what a latency was measured: texts a batch, tokens a text, threads, `cpu` or `cuda`.

    Where the length is `task` they were the task's own texts, as many as `texts`, told apart by their fingerprint.
    """

    batch: int | None = None
    length: int | Literal["task"] | None = None
    task: str | None = None
    texts: int | None = None
    fingerprint: str | None = None
    threads: int | None = None
    device: str | None = None


class Timing(Frozen):
    """One model's latency in a column: milliseconds a batch, and how many times faster than the baseline.

    `quantities` are what else was measured under the column's condition (`compress.quantities`), name → its median over the
    sessions.
    """

    run: str
    engine: str
    milliseconds: Interval
    speedup: Interval | None
    quantities: Mapping[str, float]


class Timed(Frozen):
    """Where times were taken, and in what.

    `spread` says what the intervals are: minimum to maximum over the sessions, or, where there is only one
    session, the quartiles over its rounds.
    """

    machine: str
    condition: Condition
    sessions: tuple[str, ...]
    rounds: int
    spread: Literal["sessions", "rounds"]


class TimingColumn(Timed):
    """Latencies that may stand side by side: same sessions, machine, versions, models and condition."""

    timings: tuple[Timing, ...]

    def find(self, run: str) -> Timing | None:
        """The timing of a run, None where the column lacks it."""
        return next((timing for timing in self.timings if timing.run == run), None)


class Level(Frozen):
    """A value that a curve is compared with, in the curve's unit."""

    name: str
    value: float


class Curve(Frozen):
    """One quantity of the training log: its values at the optimizer's steps."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    level: Level | None = None


class PartShare(Frozen):
    """What one part of a model has of its parameters or milliseconds; `share` is of the sum over the parts."""

    part: str
    value: float
    share: float


class Parts(Frozen):
    """Where a model's parameters and milliseconds go; either is empty where no session says it."""

    parameters: tuple[PartShare, ...] = ()
    milliseconds: tuple[PartShare, ...] = ()


class Row(Frozen):
    """One run of the comparison. `smaller` is the baseline's bytes over its own.

    `primary` is the score that the comparison is about: the same metric and split for every row of a section,
    None where the run has none.
    """

    run: Run
    label: str
    short: str
    made: str
    family: str | None
    bytes: int
    tokenizer_bytes: int
    smaller: float
    primary: ScoreResult | None
    scores: tuple[ScoreResult, ...]
    fidelity: tuple[Fidelity, ...] = ()
    curves: tuple[Curve, ...]
    parts: Parts | None = None


class Ancestor(Frozen):
    """A run that rows of a section were made from and that answers no task: what came before the task.

    `kind` names it together with those that differ from it in their seeds alone.
    """

    run: Run
    label: str
    made: str
    kind: str
    curves: tuple[Curve, ...]


class SeedGroup(Frozen):
    """Runs that differ in nothing but their seeds (and those of the runs they were made from).

    `score` is the mean of the section's metric, `retention` the share that it is of the baseline's mean (None for the baseline
    itself), both with 95 % intervals over seeds and examples. `scores` are the means of every metric on every split whose
    examples all seeds saw, `fidelity` is how they stand in for the baseline there, both with such intervals, too.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    score: Interval
    retention: Interval | None
    scores: tuple[ScoreResult, ...]
    fidelity: tuple[Fidelity, ...]


class Link(Frozen):
    """One arrow of the lineage: `child` (a run's id) was made from `parent`, which played the `role`.

    `run` is the parent's id where it is a row or an ancestor of the section, else None.
    """

    child: str
    parent: str
    role: str
    run: str | None


class Caveat(Frozen):
    """Something in the data that a reader must know before trusting a number; `runs` are ids."""

    kind: CaveatKind
    text: str
    runs: tuple[str, ...] = ()


class Headline(Frozen):
    """The answer in ten seconds: about which run, why that one, the sentence, and how sure each part is.

    Where several `runs` differ in their seeds alone it is about their mean; `run`, the largest of them, stands for their size.
    """

    run: str
    runs: tuple[str, ...]
    reason: str
    sentence: str
    certainty: tuple[tuple[str, str], ...]


class Published(Frozen):
    """A score that a paper tells of the baseline's weights, or of others of their shape, on the same split by the same metric."""

    model: str
    source: str
    score: float
    same: bool


class Section(Frozen):
    """The comparison of all runs of one task; rows start with the baseline, then the largest.

    `baseline` is one run: the others' speed and answers are compared with its own, their scores with the mean over its seeds.

    `ancestors` are the stages before the task, in the order of making. `groups` are the means over seeds, best first.
    `front` holds the ids of the runs that no other beats in both bytes and score, smallest first; of several seeds by their
    mean, and then all of them.
    `timings` starts with the column that the comparison uses, where one covers the baseline.
    `constant` is what the best answer that never looks at a text scores on the baseline's examples; None where it has none.
    `constant_agreement` is on what share of them it would agree with the baseline; None for a regression, too.
    """

    task: str
    metric: str
    constant: float | None = None
    constant_agreement: float | None = None
    baseline: str
    rows: tuple[Row, ...]
    front: tuple[str, ...]
    ancestors: tuple[Ancestor, ...] = ()
    groups: tuple[SeedGroup, ...] = ()
    published: Published | None = None
    timings: tuple[TimingColumn, ...]
    lineage: tuple[Link, ...]
    caveats: tuple[Caveat, ...]
    headline: Headline | None

    @property
    def knows_nothing(self) -> bool:
        """Whether the baseline is no better than a constant answer, so that no share of its score is told."""
        return any(caveat.kind == "no-retention" for caveat in self.caveats)

    @property
    def outside_mean(self) -> bool:
        """Whether no mean has a part of its task."""
        return self.find(self.baseline).run.answered_task.outside_mean

    def list_rows(self, runs: Collection[str]) -> list[Row]:
        """The rows of these runs, in the section's order."""
        return [row for row in self.rows if row.run.id in runs]

    @property
    def references(self) -> tuple[str, ...]:
        """The ids of the baseline and its other seeds, whose mean score the others are compared with."""
        group = next((group for group in self.groups if self.baseline in group.runs), None)
        others = group.runs if group else ()
        return (self.baseline, *(run for run in others if run != self.baseline))

    @property
    def timing(self) -> TimingColumn | None:
        """The column of the comparison: the widest one that has the baseline and another run."""
        first = self.timings[0] if self.timings else None
        return first if first and len(first.timings) > 1 and first.find(self.baseline) else None

    def find(self, run: str) -> Row:
        """The row of a run.

        Raises:
            KeyError: The section has no such run.
        """
        for row in self.rows:
            if row.run.id == run:
                return row
        raise KeyError(run)


class OverviewRow(Frozen):
    """A model on several tasks, each score over its seeds; `name` is its name and how it was made, `runs` the ids of all its runs.

    It is the `baseline` where it is so on every task that it answers. `bytes` are those of its largest artefact. `smaller` is the baseline's bytes over its own, `faster` how many times as fast
    it is on each of the tasks that were timed; both with the range over the tasks, or where one was timed over its sessions.
    `scores` are in the overview's order of tasks, None where it was not scored on one; then there is no `mean` either.
    `kept` is the share of the baselines' mean, None for the baseline itself and where they saw other examples.
    All with 95 % intervals, over seeds and examples, drawn anew for each task.
    """

    name: str
    runs: tuple[str, ...]
    baseline: bool
    bytes: int
    smaller: Interval | None
    faster: Interval | None
    scores: tuple[Interval | None, ...]
    mean: Interval | None
    kept: Interval | None


class Overview(Frozen):
    """Models that answer two tasks or more, and these tasks: GLUE's mean, of the tasks that are here.

    The score of a task is the mean of its metrics (Wang et al. 2018) and of its splits (MNLI has two). WNLI is left out, and so
    are the tasks of which the baseline knows no more than a constant answer.
    `timed` are the tasks that tell how fast models are: all, or those that were timed, where the texts' length was given.
    `sentence` is the answer in ten seconds, `chosen` the name of the model that it is about, `reason` why it is about that one,
    and which others are the fastest and keep most, `certainty` how sure each part is; None and empty where no mean is compared.
    """

    tasks: tuple[str, ...]
    timed: tuple[str, ...]
    rows: tuple[OverviewRow, ...]
    sentence: str | None = None
    chosen: str | None = None
    reason: str | None = None
    certainty: tuple[tuple[str, str], ...] = ()


class Report(Frozen):
    """A comparison of runs, one section a task; `overview` where at least two tasks share a model."""

    schema_version: int = SCHEMA_VERSION
    title: str
    command: str
    sections: tuple[Section, ...]
    overview: Overview | None = None
