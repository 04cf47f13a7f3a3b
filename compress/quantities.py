"""What a measuring session records of a model: each quantity with its unit and conditions, from what was seen."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from pydantic import JsonValue
from transformers import PretrainedConfig

from compress.encoder import build_empty
from compress.models.parts import count_by_part
from compress.runs import PARTS, Measurement, Part
from compress.statistics import summarize

QUANTITIES = (
    "latency",
    "latency_p95",
    "throughput",
    "flops",
    "part_latency",
    "load_time",
    "peak_memory",
    "baseline_memory",
    "peak_device_memory",
    "file_bytes",
    "parameters",
)
"""What a session records: the first five of each shape. Part of its key, so sessions that recorded less are no match.
Where an engine uses no GPU there is no device's memory."""

Conditions = dict[str, JsonValue]


def list_sizes(files: Mapping[str, int], config: PretrainedConfig) -> Iterable[Measurement]:
    """The bytes of each file, and the parameters of each part of the model that the configuration describes.

    A quantized graph has no parameters of its own to count: it is those of its architecture in fewer bits.
    """
    for name, size in files.items():
        yield single("file_bytes", size, "bytes", {"file": name})
    for part, count in count_by_part(build_empty(config)).items():
        yield single("parameters", count, "parameters", {"part": part})


def summarize_turns(
    rounds: Sequence[tuple[float, ...]], *, batch: int, conditions: Conditions, alike: bool = True
) -> list[Measurement]:
    """Latency, its 95th percentile and the throughput of one shape, from the milliseconds of each round.

    The percentile is that of all samples together; its bounds are the least and the greatest of the rounds' own. The
    throughput is of the median and the quartiles of the latency, whose samples are its own; where batches differ in
    length (they are not `alike`), of all batches of a round together, the median and the quartiles over rounds.
    """
    summary = summarize(list(chain.from_iterable(rounds)))
    tails = [summarize(samples).p95 for samples in rounds]
    times = summary if alike else summarize([sum(samples) / len(samples) for samples in rounds])
    texts = 1000 * batch
    n = sum(map(len, rounds))
    return [
        Measurement(
            name="latency",
            value=summary.median,
            unit="ms",
            higher_is_better=False,
            low=summary.low,
            high=summary.high,
            samples=tuple(tuple(round(value, 4) for value in samples) for samples in rounds),
            n=n,
            conditions=conditions,
        ),
        Measurement(
            name="latency_p95",
            value=summary.p95,
            unit="ms",
            higher_is_better=False,
            low=min(*tails, summary.p95),
            high=max(*tails, summary.p95),
            samples=tuple((round(value, 4),) for value in tails),
            n=n,
            conditions=conditions,
        ),
        Measurement(
            name="throughput",
            value=texts / times.median,
            unit="texts/s",
            higher_is_better=True,
            low=texts / times.high,
            high=texts / times.low,
            samples=(),
            n=n,
            conditions=conditions,
        ),
    ]


def summarize_parts(runs: Sequence[Mapping[Part, float]], conditions: Conditions) -> Iterable[Measurement]:
    """The milliseconds of each part: the median over profiled runs, with the quartiles.

    They add up to the latency and what profiling costs.
    """
    for part in PARTS if runs else ():
        samples = [run[part] for run in runs]
        summary = summarize(samples)
        yield Measurement(
            name="part_latency",
            value=summary.median,
            unit="ms",
            higher_is_better=False,
            low=summary.low,
            high=summary.high,
            samples=(tuple(round(value, 4) for value in samples),),
            n=len(samples),
            conditions={"part": part, **conditions},
        )


def single(name: str, value: float, unit: str, conditions: Conditions) -> Measurement:
    """A quantity that was seen once, of which less is better."""
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        higher_is_better=False,
        n=1,
        low=value,
        high=value,
        samples=((value,),),
        conditions=conditions,
    )
