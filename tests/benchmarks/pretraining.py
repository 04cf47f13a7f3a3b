"""Tokens a second of pretraining, the share of the machine's peak that they are, and where the rest of the time goes.

    python -m tests.benchmarks.pretraining                                  three minutes on two cores
    python -m tests.benchmarks.pretraining --models bert-base,electra-small --lengths 128,512 --corpus DIR --output F.json

Each model has a process of its own, the machine's peak one more; they take turns, one awake at a time, and the first
turn of each does not count. What is measured:

- `tokens/s`: steps of the product's own `train`, from its loader; padding is computed and not counted.
- `one batch`: the same with one batch that lies ready on the device; what is missing to it is the loader's share.
- `of peak`: forward and backward products of a step (three times the forward ones, MLM heads on hidden words alone,
  ELECTRA's generator counted) over its seconds, as a share of the best square product in the same precision.
- the account: seconds of data, forward, backward (and clipping), optimizer and the Trainer's rest, of one further turn in
  which the device is waited for after each, so that nothing overlaps: on a GPU it adds up to more than a step takes.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.arithmetic import start_machine
from tests.benchmarks.lessons import PHASES, Learned, Lesson, start_lessons
from tests.benchmarks.sessions import Awake, Engine, summarize, write_outcome
from tests.benchmarks.tables import render_rows

MACHINE = "machine"
DEFAULTS: dict[str, Mapping[str, Any]] = {
    "cpu": {
        "models": "bert-mini,electra-mini",
        "lengths": "128",
        "budget": "small",
        "rounds": 3,
        "warmup": 1,
        "steps": 3,
        "sides": (1024, 2048),
    },
    "cuda": {
        "models": "bert-base,electra-small",
        "lengths": "128,512",
        "budget": "published",
        "rounds": 5,
        "warmup": 5,
        "steps": 30,
        "sides": (4096, 8192, 16384),
    },
}
COLUMNS = (
    "model",
    "length",
    "batch",
    "tokens/s",
    "one batch",
    "loader",
    "GFLOP/step",
    "TFLOP/s",
    "of peak",
    *PHASES,
)


def compare_lessons(
    lessons: Mapping[str, Lesson], *, rounds: int, sides: Sequence[int]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Let all take turns; what was seen of each, and the machine's peaks in GFLOP a second.

    Args:
        lessons: By name, in the order of their turns.
        rounds: How many.
        sides: Of the square matrices whose products are the peak.
    """
    with ExitStack() as stack:
        machine = stack.enter_context(Awake(MACHINE, Engine(start_machine, (sides,))))
        awake = {
            name: stack.enter_context(Awake(name, Engine(start_lessons, (lesson,))))
            for name, lesson in lessons.items()
        }
        for name, pupil in awake.items():
            tell(f"{name}: first turns")
            pupil.take(fixed=True)
            pupil.take()
        turns: dict[str, list[tuple[Learned, Learned]]] = {name: [] for name in awake}
        peaks: list[dict[str, float]] = []
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            peaks.append(machine.take())
            for name, pupil in awake.items():
                turns[name].append((pupil.take(), pupil.take(fixed=True)))
        best = {dtype: max(peak[dtype] for peak in peaks) for dtype in peaks[0]}
        found = {}
        for name, pupil in awake.items():
            account: Learned = pupil.take(by_phase=True)
            seen = describe_turns(turns[name], account, steps=lessons[name].steps)
            found[name] = {"length": lessons[name].length, **pupil.take(described=True), **seen}
    return {name: add_share(case, best) for name, case in found.items()}, best


def describe_turns(
    turns: Sequence[tuple[Learned, Learned]], account: Learned, *, steps: int
) -> dict[str, Any]:
    """Rates with their spread over rounds, the loader's share, and the account of a step.

    Args:
        turns: A round each: from the loader, and from one batch.
        account: A turn whose phases were timed.
        steps: Of a turn.
    """
    loaded, fixed = ([turn[kind] for turn in turns] for kind in (0, 1))
    # By tokens that were computed: batches of the loader have more padding, or less, than the one that lies ready.
    shares = [1 - _rate(one, "computed") / _rate(other, "computed") for one, other in turns]
    return {
        "tokens_per_second": summarize([_rate(turn, "tokens") for turn in loaded]),
        "tokens_per_second_of_one_batch": summarize([_rate(turn, "tokens") for turn in fixed]),
        "loader_share": summarize(shares),
        "padding_share": round(1 - sum(t.tokens for t in loaded) / sum(t.computed for t in loaded), 4),
        "gflop_a_step": round(float(np.mean([turn.flops for turn in loaded])) / steps / 1e9, 3),
        "gflops": summarize([_rate(turn, "flops") / 1e9 for turn in loaded]),
        "seconds_a_step": summarize([turn.seconds / steps for turn in loaded]),
        "account_seconds_a_step": {
            phase: round(account.phases.get(phase, 0.0) / steps, 5) for phase in PHASES
        },
    }


def add_share(case: Mapping[str, Any], peaks: Mapping[str, float]) -> dict[str, Any]:
    """A case with its share of the peak in its own precision."""
    peak = peaks[case["dtype"]]
    return {**case, "share_of_peak": {name: round(value / peak, 4) for name, value in case["gflops"].items()}}


def _rate(turn: Learned, what: str) -> float:
    return float(getattr(turn, what) / turn.seconds)


def render_table(cases: Mapping[str, Mapping[str, Any]], peaks: Mapping[str, float]) -> str:
    """The cases as a table in Markdown; the account in milliseconds a step."""
    peak = ", ".join(f"{dtype} {value / 1e3:.3g} TFLOP/s" for dtype, value in peaks.items())
    table = render_rows(COLUMNS, [_cells(name, case) for name, case in cases.items()])
    return f"{table}\n\nPhases in ms a step. Peak: {peak}."


def _cells(name: str, case: Mapping[str, Any]) -> list[str]:
    rate, share = case["tokens_per_second"], case["share_of_peak"]
    return [
        Path(name.rpartition(" ")[0]).stem,
        str(case["length"]),
        str(case["batch"]),
        f"{rate['median']:,.0f} [{rate['low']:,.0f}, {rate['high']:,.0f}]",
        f"{case['tokens_per_second_of_one_batch']['median']:,.0f}",
        f"{case['loader_share']['median']:.1%}",
        f"{case['gflop_a_step']:,.1f}",
        f"{case['gflops']['median'] / 1e3:.3g}",
        f"{share['median']:.1%} [{share['low']:.1%}, {share['high']:.1%}]",
        *(f"{1000 * case['account_seconds_a_step'][phase]:.1f}" for phase in PHASES),
    ]


def tell(line: str) -> None:
    """To the one who waits."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and keep the record where one is wanted."""
    from compress.environment import device

    usual = DEFAULTS[device()]
    parser = argparse.ArgumentParser(
        description="Measure pretraining: tokens a second, and of the peak how much."
    )
    parser.add_argument("--models", default=usual["models"], help="teachers, parted by commas")
    parser.add_argument("--lengths", default=usual["lengths"], help="in tokens, parted by commas")
    parser.add_argument("--batch", type=int, help="examples a step; default the recipe's")
    parser.add_argument(
        "--budget", choices=("small", "published"), default=usual["budget"], help="whose recipe"
    )
    parser.add_argument("--corpus", default="sample")
    parser.add_argument("--rounds", type=int, default=usual["rounds"])
    parser.add_argument("--steps", type=int, default=usual["steps"], help="that count in a turn")
    parser.add_argument("--output", type=Path, help="a file for the record")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as store:
        lessons = {
            f"{model} {length}": Lesson(
                model=model,
                length=int(length),
                batch=given.batch,
                budget=given.budget,
                corpus=given.corpus,
                store=Path(store),
                warmup=usual["warmup"],
                steps=given.steps,
            )
            for model in given.models.split(",")
            for length in given.lengths.split(",")
        }
        cases, peaks = compare_lessons(lessons, rounds=given.rounds, sides=usual["sides"])
    if given.output:
        what = "tokens a second of pretraining, and the products' share of the machine's peak"
        record = {"what": what, "rounds": given.rounds, "corpus": given.corpus, "budget": given.budget}
        write_outcome(given.output, {**record, "peak_gflops": peaks, "cases": cases})
    print(render_table(cases, peaks))  # noqa: T201


if __name__ == "__main__":
    main()
