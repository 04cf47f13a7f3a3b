"""Samples a second of distillation: this project against TextBrewer's GeneralDistiller.

Teacher of bert-base's shape, student `albert-tiny`, random weights, the same texts, terms, optimizer, schedule and
number of threads. Engines take turns, each in a process of its own; a session is a set of fresh processes.

    make benchmark-peers      about half an hour on two quiet cores; COMPRESS_GLUE adds SST-2's own texts
    .venv/bin/python -m tests.benchmarks.textbrewer --quick --output /tmp/quick.json

The cases:

- `intermediate`, 32 × 128: hidden states through learned projections, attention, soft labels; one epoch. TextBrewer
  compares attention probabilities, which is what `output_attentions` hands out; we compare scores before the softmax.
  It has a projection a pair, we have one for the embeddings and one for all layers. Soft labels come with the pass of the
  teacher that the other terms need, in both: nothing is made beforehand, and three epochs are three times one.
- `soft`, 32 × 128: soft labels alone over three epochs, from an empty cache. `steps`: the median step, all else left
  out. `whole`: the training from beginning to end, with the gate, the making of the cache, the hold-out and the
  checkpoints; the gate and the hold-out cost the teacher a tenth of the texts each. TextBrewer's GeneralDistiller asks
  the teacher in every step. (Its BasicDistiller can keep answers, of batches that are then the same in each epoch.)
- `sst2`: as `intermediate`, on SST-2's own texts: ours in batches of like length, TextBrewer's in random order, each
  padded to its longest.

`fp32` is against the same precision; `best` is ours in bfloat16, which TextBrewer lacks on a CPU. A step lasts from the
end of one optimizer step to the end of the next, on the same clock for both; the first of a turn is not timed. Memory is
the peak of the whole process. `split` says which share of a step went into matrix products, and how near these came to
the machine's measured peak.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.arithmetic import start_machine
from tests.benchmarks.clock import Turn
from tests.benchmarks.engines import Case, start_augmentation, start_ours, start_textbrewer
from tests.benchmarks.materials import FULL, QUICK, Size, make_models
from tests.benchmarks.sessions import RESULTS, Engine, alternate, compare, summarize, write_outcome

SESSIONS = 3
OURS = ("fp32", "best")
PEER = "textbrewer"
EPOCHS = 3
"""Over which the making of the cache is spread."""
CASES = (
    Case("intermediate", inside=True, rounds=2),
    Case("soft", inside=False, epochs=EPOCHS, kept_answers=False),
)


def own_case(size: Size) -> Case | None:
    """The case of a task's own texts: SST-2's where there is a clone of GLUE, the sample task's in a quick run."""
    if size.tiny:
        return Case("sample", inside=True, task="sample")
    if os.environ.get("COMPRESS_GLUE"):
        return Case("sst2", inside=True, task="sst2")
    return None


def run_case(case: Case, folder: Path, size: Size, *, sessions: int, peer: bool) -> dict[str, Any]:
    """All sessions of a case, and what they amount to."""
    engines = {PEER: Engine(start_textbrewer, (folder, case, size))} if peer else {}
    engines |= {name: Engine(start_ours, (folder, case, size, name == "best")) for name in OURS}
    found: dict[str, list[list[Turn]]] = {name: [] for name in engines}
    split: dict[str, Any] = {}
    for number in range(sessions):
        asked = {"profiled": True} if number == sessions - 1 and case.inside else None
        turns, further = alternate(engines, rounds=case.rounds, last=asked)
        for name in engines:
            found[name].append(turns[name])
        split |= {name: turn.split for name, turn in further.items()}
        tell(f"{case.name}: session {number + 1} of {sessions}")
    return {**describe_case(case, found, size), "split": split}


def describe_case(case: Case, found: dict[str, list[list[Turn]]], size: Size) -> dict[str, Any]:
    """Rates, ratios within rounds, and memory."""
    rates = {
        name: [[rate(turn, case, size) for turn in turns] for turns in sessions]
        for name, sessions in found.items()
    }
    whole = {
        name: [[samples(case, size) / turn.seconds for turn in turns] for turns in sessions]
        for name, sessions in found.items()
    }
    compared = [name for name in OURS if PEER in found]
    outcome = {
        "ratio_steps": {name: compare(rates[name], rates[PEER]) for name in compared},
        "samples_per_second": {
            name: summarize([value for session in values for value in session])
            for name, values in rates.items()
        },
        "peak_memory_mb": {
            name: round(max(turn.peak_bytes for turns in sessions for turn in turns) / 1e6)
            for name, sessions in found.items()
        },
        "step_seconds": {
            name: [[[round(value, 4) for value in turn.step_seconds] for turn in turns] for turns in sessions]
            for name, sessions in found.items()
        },
    }
    if case.kept_answers:
        return outcome
    return {
        **outcome,
        "ratio_whole": {name: compare(whole[name], whole[PEER]) for name in compared},
        "whole_seconds": {
            name: [[round(turn.seconds, 2) for turn in turns] for turns in sessions]
            for name, sessions in found.items()
        },
        "teacher_seconds": summarize(
            [turn.facts["teacher_seconds"] for turns in found["fp32"] for turn in turns]
        ),
    }


def rate(turn: Turn, case: Case, size: Size) -> float:
    """Samples a second of a turn's steps: of the median step where all are alike, else of all."""
    step = np.median(turn.step_seconds) if case.task is None else np.mean(turn.step_seconds)
    return float(size.batch / step)


def samples(case: Case, size: Size) -> int:
    """How many texts a turn learns, each counted once an epoch."""
    return case.epochs * size.batch * (size.steps if case.task is None else size.own_steps)


def measure_rest(folder: Path, size: Size, *, task: str) -> dict[str, Any]:
    """The machine's peaks, then the augmentation, each alone."""
    machine, _ = alternate({"machine": Engine(start_machine, ((size.side,),))}, rounds=3)
    words, _ = alternate({"augmentation": Engine(start_augmentation, (folder, task, size))}, rounds=1)
    peaks = machine["machine"]
    return {
        "peak_gflops": {name: round(max(each[name] for each in peaks), 1) for name in peaks[0]},
        "augmented_per_second": words["augmentation"][0]["augmentation_per_second"],
        "augmented_texts_of": task,
    }


def run(size: Size, *, sessions: int, peer: bool, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """The whole comparison, or the cases that are wanted."""
    own = own_case(size)
    if own is None:
        tell("COMPRESS_GLUE names no clone of GLUE, so SST-2's own texts are left out.")
    cases = [case for case in (*CASES, own) if case and (not wanted or case.name in wanted)]
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        make_models(folder, size)
        outcomes = {case.name: run_case(case, folder, size, sessions=sessions, peer=peer) for case in cases}
        rest = measure_rest(folder, size, task=own.task if own and own.task else "sample")
    for outcome in outcomes.values():
        for name, split in outcome["split"].items():
            peak = rest["peak_gflops"]["bfloat16" if name == "best" else "float32"]
            split["share_of_peak"] = round(split["gflops_in_products"] / peak, 3)
    return {
        "what": "samples a second, ours / TextBrewer's GeneralDistiller; bert-base's shape teaches albert-tiny",
        "quick": size.tiny,
        "batch": size.batch,
        "length": size.length,
        "sessions": sessions,
        "textbrewer": version_of_peer() if peer else None,
        **rest,
        "cases": outcomes,
    }


def version_of_peer() -> str | None:
    """TextBrewer's version, if it is installed."""
    from compress.environment import installed_version

    return installed_version(PEER)


def tell(line: str) -> None:
    """To the one who waits."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, keep the record, and print the ratios."""
    parser = argparse.ArgumentParser(description="Compare distillation with TextBrewer's.")
    parser.add_argument("--quick", action="store_true", help="tiny models and a few steps: does it run?")
    parser.add_argument("--output", type=Path, help="where the record goes; default results/textbrewer.json")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--case", action="append", default=[], help="one of the cases; may be repeated")
    parser.add_argument("--ours-only", action="store_true", help="where TextBrewer is not installed")
    given = parser.parse_args(arguments)
    if given.quick and given.output is None:
        parser.error("a quick run measures nothing worth keeping: name another file with --output FILE")
    peer = not given.ours_only
    if peer and importlib.util.find_spec(PEER) is None:
        parser.error("TextBrewer is not installed: pip install -r tests/benchmarks/peers/requirements.txt")
    outcome = run(QUICK if given.quick else FULL, sessions=given.sessions, peer=peer, wanted=given.case)
    write_outcome(given.output or RESULTS / "textbrewer.json", outcome)
    ratios = {
        name: {key: found[key] for key in found if key.startswith("ratio")}
        for name, found in outcome["cases"].items()
    }
    print(json.dumps(ratios, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
