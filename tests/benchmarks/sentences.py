"""A thousand sentences from strings to labels: a `transformers` pipeline with the teacher, and this project's students.

    COMPRESS_GLUE=DIR python -m tests.benchmarks.sentences            SST-2's; without it the sample task's
    python -m tests.benchmarks.sentences --quick --output /tmp/quick.json

The tokenizer is in the time on both sides. The teacher is minilm-l6 with a classifier, the student has `albert-tiny`'s
shape; what their weights know does not matter here. One engine is awake at a time, each in a process of its own, all
threads allowed to it named; a ratio is one within a session. `outside` is the share of the time that is not spent in the
model: the tokenizer, the batches, the labels.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.answering import make_artefact
from tests.benchmarks.engines import be_quiet
from tests.benchmarks.materials import FULL, QUICK, SEED, TOKENIZER, Size, make_models
from tests.benchmarks.sessions import RESULTS, Engine, Take, alternate, compare, summarize, write_outcome
from tests.benchmarks.tables import render_rows
from tests.benchmarks.textbrewer import tell

SENTENCES = 1000
SESSIONS = 5
ROUNDS = 3
BATCH = 32
REFERENCE = "pipeline, minilm-l6"
WAYS = ("transformers", "dynamic-int8", "packed-int8", "openvino-int8")
"""What is made of the student: as it is, and in 8 bits for three kernels."""


def list_sentences(size: Size) -> list[str]:
    """Validation's sentences, from the beginning again until there are enough."""
    from compress.data.task_data import load_task_data
    from compress.tasks import resolve_task

    glue = os.environ.get("COMPRESS_GLUE")
    task = resolve_task("sst2", glue=Path(glue)) if glue else resolve_task("sample")
    texts = load_task_data(task).validation[0].texts
    wanted = 40 if size.tiny else SENTENCES
    return [str(texts[row % len(texts)]) for row in range(wanted)]


def make_teacher(folder: Path) -> Path:
    """minilm-l6 with a classifier of random weights, as `transformers` saves it."""
    from compress.encoder import load_encoder, save_encoder
    from compress.sources import resolve_model
    from compress.tasks import resolve_task

    be_quiet()
    source = resolve_model(TOKENIZER, store=folder).path
    save_encoder(load_encoder(source, resolve_task("sample"), seed=SEED), folder / "minilm", max_length=128)
    return folder / "minilm"


def start_pipeline(path: Path, sentences: list[str], threads: int, batch: int) -> Take:
    """`pipeline("text-classification")` in fp32."""
    import torch
    from transformers import pipeline

    be_quiet()
    torch.set_num_threads(threads)
    classify = pipeline("text-classification", model=str(path), device="cpu")
    inside = Stopwatch(classify.model.forward)
    classify.model.forward = inside
    return partial(_turn, lambda: classify(sentences, batch_size=batch, truncation=True), inside)


def start_ours(path: Path, sentences: list[str], threads: int) -> Take:
    """An artefact of this project, as `compress predict` runs it."""
    from compress.inference import load

    be_quiet()
    predictor = load(path, threads=threads)
    inside = Stopwatch(predictor.engine.run)
    predictor.engine.run = inside  # type: ignore[method-assign]
    return partial(_turn, lambda: predictor.predict(sentences, batch_size=BATCH), inside)


class Stopwatch:
    """A function that notes how long it has been running in all."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.seconds = 0.0
        self._function = function

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        """Run it."""
        before = time.perf_counter()
        try:
            return self._function(*arguments, **more)
        finally:
            self.seconds += time.perf_counter() - before


def _turn(answer: Callable[[], Sequence[Any]], inside: Stopwatch) -> dict[str, float]:
    before, began = inside.seconds, time.perf_counter()
    answers = answer()
    seconds = time.perf_counter() - began
    return {"rate": len(answers) / seconds, "outside": 1 - (inside.seconds - before) / seconds}


def run(size: Size, *, sessions: int, threads: int) -> dict[str, Any]:
    """All sessions, and what they amount to."""
    from compress.recipes.quantization import METHODS, settle

    sentences = list_sentences(size)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        make_models(folder, size)
        teacher = folder / "teacher" if size.tiny else make_teacher(folder)
        engines = {
            REFERENCE: Engine(start_pipeline, (teacher, sentences, threads, 1)),
            f"{REFERENCE}, batches of {BATCH}": Engine(start_pipeline, (teacher, sentences, threads, BATCH)),
            "compress, minilm-l6": Engine(start_ours, (teacher, sentences, threads)),
        }
        for way in WAYS[:2] if size.tiny else WAYS:
            target = folder / way
            made = make_artefact(
                folder / "student", settle(METHODS[way]()) if way in METHODS else way, target
            )
            engines[f"compress, student, {way}"] = Engine(start_ours, (made.path, sentences, threads))
        found: list[dict[str, list[dict[str, float]]]] = []
        for number in range(sessions):
            found.append(alternate(engines, rounds=ROUNDS + 1)[0])
            tell(f"session {number + 1} of {sessions}")
    return {
        "what": f"{len(sentences)} sentences from strings to labels, times as fast as {REFERENCE}",
        "quick": size.tiny,
        "threads": threads,
        "sessions": sessions,
        "rounds": ROUNDS,
        "engines": {name: _summarize(found, name) for name in engines},
    }


def _summarize(found: Sequence[Mapping[str, Sequence[Mapping[str, float]]]], name: str) -> dict[str, Any]:
    def rates(engine: str) -> list[list[float]]:
        return [[turn["rate"] for turn in turns[engine][1:]] for turns in found]  # the first one allocates

    return {
        "times": compare(rates(name), rates(REFERENCE)),
        "sentences_per_second": summarize([rate for session in rates(name) for rate in session]),
        "outside": summarize([turn["outside"] for turns in found for turn in turns[name][1:]]),
    }


def render(outcome: Mapping[str, Any]) -> str:
    """The table."""
    rows = [
        [
            name,
            f"{found['sentences_per_second']['median']:,.0f}",
            f"{found['times']['median']:.2f} ({found['times']['low']:.2f} to {found['times']['high']:.2f})",
            f"{found['outside']['median']:.0%}",
        ]
        for name, found in outcome["engines"].items()
    ]
    return render_rows(("", "sentences a second", "times as fast", "outside the model"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, keep the record, and print the table."""
    parser = argparse.ArgumentParser(description="Compare how fast sentences are answered.")
    parser.add_argument("--quick", action="store_true", help="a tiny student and few sentences: does it run?")
    parser.add_argument(
        "--output", type=Path, help="where the record goes; default results/sentences-THREADS.json"
    )
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.quick and given.output is None:
        parser.error("a quick run measures nothing worth keeping: name another file with --output FILE")
    outcome = run(QUICK if given.quick else FULL, sessions=given.sessions, threads=given.threads)
    write_outcome(given.output or RESULTS / f"sentences-{given.threads}.json", outcome)
    print(render(outcome))  # noqa: T201


if __name__ == "__main__":
    main()
