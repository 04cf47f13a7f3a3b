"""Four families pretrained here with equal budgets, and what that is worth on a task beside the same shapes with random weights.

    python -m tests.benchmarks.families --corpus DIR --glue DIR --output-dir reports/pretraining     two and a half hours, two cores

Two commands at a time, a thread each (or `--processes 1 --threads 2`), and each one that a user has: `compress pretrain`,
then `compress finetune` of what was pretrained and of the same shape with random weights over the same tokenizer. Both
sides are tuned alike: every rate with the first seed, the best on the hold-out of the train split with the others. What
pretraining is worth depends on how long is learned afterwards: each number of `--steps` is a comparison of its own.
Finished runs are taken as they are, so the same command resumes. The gain is a mean over seeds with an interval over
seeds and examples, paired by examples.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import Any

import numpy as np

from compress.runs import StoredRun, read_run
from compress.statistics import estimate_gain
from tests.benchmarks.outcomes import read_predictions
from tests.benchmarks.reports import recorded, write_report
from tests.benchmarks.tables import render_rows

FAMILIES = ("albert-mini", "bert-mini", "roberta-mini", "electra-mini")
BEGINNINGS = ("pretrained", "random")
LEARNED = ("model", "objective", "steps", "tokens", "hold-out MLM", "unigram entropy", "below", "NSP, SOP")
PAIR_ACCURACIES = ("eval_next_sentence_accuracy", "eval_sentence_order_accuracy")
GAINS = ("steps", "model", "seeds", "rates", "pretrained", "random", "gain (95 %)", "n")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """What is tuned by itself.

    Attributes:
        model: Whose shape.
        beginning: Its weights at first.
        steps: Of each fine-tuning.
    """

    model: str
    beginning: str
    steps: int


@dataclass(frozen=True)
class Trial:
    """One fine-tuning.

    Attributes:
        side: What it is one of.
        rate: Of learning.
        seed: Of everything random.
    """

    side: Side
    rate: float
    seed: int


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Attributes:
        models: Teachers that are pretrained.
        corpus: The documents.
        glue: A local clone of GLUE.
        store: The directory of runs.
        minutes: Of each pretraining.
        task: That is learned afterwards.
        steps: Of a fine-tuning; each number is a comparison of its own.
        rates: That are tried.
        seeds: The first of them chooses the rate.
        processes: Commands at a time.
        threads: Of each command.
    """

    models: Sequence[str]
    corpus: str
    glue: Path | None
    store: Path
    minutes: float
    task: str
    steps: Sequence[int]
    rates: Sequence[float]
    seeds: Sequence[int]
    processes: int
    threads: int

    def pretrain(self) -> dict[str, StoredRun]:
        """Each model from nothing, within the same minutes."""
        ways = [
            ["pretrain", model, "--corpus", self.corpus, "--max-minutes", f"{self.minutes:g}"]
            for model in self.models
        ]
        return dict(zip(self.models, self._carry_out(ways), strict=True))

    def finetune(self, taught: Mapping[str, StoredRun], trials: Sequence[Trial]) -> dict[Trial, StoredRun]:
        """Each trial, two at a time."""
        ways = []
        for trial in trials:
            side, path = trial.side, str(taught[trial.side.model].path)
            anew = [side.model, "--random", "--tokenizer", path]
            ways.append(
                [
                    *("finetune", *([path] if side.beginning == "pretrained" else anew)),
                    *("--task", self.task, "--learning-rate", f"{trial.rate:g}", "--seed", str(trial.seed)),
                    *("--max-steps", str(side.steps)),
                ]
            )
        return dict(zip(trials, self._carry_out(ways), strict=True))

    def _carry_out(self, ways: Sequence[Sequence[str]]) -> list[StoredRun]:
        with ThreadPoolExecutor(self.processes) as pool:
            return list(pool.map(self._run, ways))

    def _run(self, arguments: Sequence[str]) -> StoredRun:
        """One command of the user's."""
        where = {"COMPRESS_RUNS": str(self.store), "OMP_NUM_THREADS": str(self.threads)}
        where |= {"COMPRESS_GLUE": str(self.glue)} if self.glue else {}
        logger.info("%s", join(["compress", *arguments]))
        done = subprocess.run(
            [sys.executable, "-m", "compress", *arguments, "--json"],
            env=os.environ | where,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return read_run(Path(json.loads(done.stdout)["path"]))


def compare_families(comparison: Comparison) -> tuple[dict[str, StoredRun], dict[Trial, StoredRun]]:
    """Pretrain, tune both beginnings of each model with the first seed, and repeat the best with the others.

    Returns:
        The pretrained models, and the trials that count: of each side the best rate, with all seeds.
    """
    taught = comparison.pretrain()
    first, *others = comparison.seeds
    sides = [
        Side(model, beginning, steps)
        for steps in comparison.steps
        for model in comparison.models
        for beginning in BEGINNINGS
    ]
    tuned = comparison.finetune(
        taught, [Trial(side, rate, first) for side in sides for rate in comparison.rates]
    )
    chosen = {side: choose_rate(tuned, side) for side in sides}
    repeated = comparison.finetune(
        taught, [Trial(side, chosen[side], seed) for side in sides for seed in others]
    )
    kept = {trial: run for trial, run in tuned.items() if trial.rate == chosen[trial.side]}
    return taught, kept | repeated


def choose_rate(tuned: Mapping[Trial, StoredRun], side: Side) -> float:
    """The rate with the best score on the hold-out of the train split; of equals the lowest."""
    scores = {
        trial.rate: run.run.facts["holdout_score"] for trial, run in tuned.items() if trial.side == side
    }
    return min(scores, key=lambda rate: (-scores[rate], rate))


def render_learned(taught: Mapping[str, StoredRun]) -> str:
    """What was learned from documents."""
    return render_rows(LEARNED, [_learned_cells(model, stored) for model, stored in taught.items()])


def _learned_cells(model: str, stored: StoredRun) -> list[str]:
    parts = list(_parts(stored))
    facts, entropy = stored.run.facts, stored.run.facts["unigram_entropy"]
    looks = [json.loads(line) for line in (stored.path / "history.jsonl").read_text().splitlines()]
    pairs = [look[name] for look in looks for name in look if name in PAIR_ACCURACIES]
    return [
        model,
        stored.run.stage.objective,
        f"{sum(part['steps'] for part in parts):,}",
        f"{sum(part['tokens_read'] for part in parts) / 1e6:.1f} M",
        f"{facts['holdout_masked_lm']:.3f}",
        f"{entropy:.3f}",
        f"{entropy - facts['holdout_masked_lm']:.2f}",
        f"{pairs[-1]:.3f}" if pairs else "",
    ]


def _parts(stored: StoredRun) -> Iterator[Mapping[str, Any]]:
    """Facts of a pretraining and of the part on shorter inputs before it, if there was one."""
    yield stored.run.facts
    for parent in stored.run.parents:
        if parent.run_id is not None:
            yield from _parts(read_run(stored.path.parents[2] / parent.run_id))


def render_gains(trials: Mapping[Trial, StoredRun]) -> str:
    """What pretraining was worth: by steps of fine-tuning, and model by model."""
    compared = dict.fromkeys((trial.side.steps, trial.side.model) for trial in trials)
    return render_rows(GAINS, [_gain_cells(*each, trials) for each in compared])


def _gain_cells(steps: int, model: str, trials: Mapping[Trial, StoredRun]) -> list[str]:
    found: dict[str, list[np.ndarray]] = {}
    rates, seeds = [], set[int]()
    for beginning in BEGINNINGS:
        side = Side(model, beginning, steps)
        runs = {trial: stored for trial, stored in trials.items() if trial.side == side}
        for _, stored in sorted(runs.items(), key=lambda item: item[0].seed):
            labels, predictions = read_predictions(stored)
            found.setdefault(beginning, []).append(predictions)
        rates.append(f"{next(iter(runs)).rate:g}")
        seeds |= {trial.seed for trial in runs}
    metric = next(iter(trials.values())).evaluations[0].scores[0].name
    gain = estimate_gain(metric, labels, *(found[beginning] for beginning in BEGINNINGS))
    return [
        f"{steps:,}",
        model,
        " ".join(map(str, sorted(seeds))),
        " ".join(rates),
        *(" ".join(f"{(labels == each).mean():.3f}" for each in found[side]) for side in BEGINNINGS),
        f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
        f"{len(labels):,}",
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Pretrain four families, and compare each with random weights."
    )
    parser.add_argument("--models", nargs="+", default=list(FAMILIES), help="teachers' names or files")
    parser.add_argument("--corpus", default="sample")
    parser.add_argument("--glue", type=Path, help="a local clone of GLUE")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="of the runs; the same one resumes")
    parser.add_argument("--output-dir", type=Path, required=True, help="of the report")
    parser.add_argument("--minutes", type=float, default=40, help="of each pretraining")
    parser.add_argument("--task", default="sst2", help="a classification with one validation split")
    parser.add_argument("--steps", type=int, nargs="+", default=[250, 1000], help="of a fine-tuning")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--processes", type=int, default=2, help="at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all of it, write the report, and print the tables."""
    given = vars(parse(arguments))
    output = given.pop("output_dir")
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    taught, trials = compare_families(Comparison(**given))
    pretrained = [stored.run for trial, stored in trials.items() if trial.side.beginning == "pretrained"]
    write_report(
        list(trials.values()),
        output,
        title=f"{', '.join(taught)} on {given['task']}: pretrained here, and from random weights",
        baseline=max(pretrained, key=lambda run: run.parameters).id,
    )
    print(f"{render_learned(taught)}\n\n{render_gains(trials)}")  # noqa: T201


if __name__ == "__main__":
    with recorded("tests.benchmarks.families"):
        main()
