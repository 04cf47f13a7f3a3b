"""The table of `compress measure`: every quantity, in 110 columns, of old records and new ones."""

import io

from rich.console import Console

from compress.cli.tables import measurements_table
from compress.quantities import QUANTITIES
from compress.runs import Measurement, Session
from tests.test_runs import HERE

UNITS = {"latency": "ms", "latency_p95": "ms", "throughput": "texts/s", "flops": "FLOP", "load_time": "s"}
UNSHOWN = {"file_bytes", "parameters", "part_latency"}
"""For the page: `compress measure` compares times."""


def record(values, *, run="sst2/albert-tiny/quantize-a42dc0e0", session="dd855641"):
    """(quantity, batch or None) → value."""
    measurements = []
    for (name, batch), value in values.items():
        shape = {} if batch is None else {"batch": batch, "length": 128}
        measurements.append(
            Measurement(
                name=name,
                value=value,
                unit=UNITS.get(name, "bytes"),
                higher_is_better=name == "throughput",
                n=1,
                low=value * 0.99,
                high=value * 1.01,
                samples=(),
                conditions={"threads": 2, **shape},
            )
        )
    return Session(
        session=session,
        key="k",
        started="2026-01-01",
        run=run,
        models=(run,),
        engine="onnxruntime",
        environment=HERE,
        measurements=tuple(measurements),
    )


WHOLE = {
    ("latency", 1): 4.3898,
    ("latency_p95", 1): 5.114,
    ("throughput", 1): 227.8,
    ("flops", 1): 1.2872e9,
    ("latency", 32): 1689.05,
    ("latency_p95", 32): 1801.2,
    ("throughput", 32): 18.95,
    ("flops", 32): 41.19e9,
    ("load_time", None): 0.1712,
    ("peak_memory", None): 705.2e6,
    ("baseline_memory", None): 402.7e6,
    ("peak_device_memory", None): 91.3e6,
}


def show(records):
    console = Console(file=io.StringIO(), width=110)
    console.print(measurements_table(records))
    return console.file.getvalue()


def test_every_quantity_is_shown_in_110_columns():
    assert {name for name, _ in WHOLE} == set(QUANTITIES) - UNSHOWN
    text = show([record(WHOLE), record(WHOLE, run="sst2/minilm-l6/finetune-9e5b625e")])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert max(map(len, text.splitlines())) <= 110
    assert "sst2/albert-tiny/quantize-a42dc0e0 1 × 128 4.39 (4.35–4.43) 5.11 228 1.29 705 MB" in lines
    assert "onnxruntime, loaded in 0.17 s 32 × 128 1689 (1672–1706) 1801 18.9 41.2 (403 MB)" in lines
    assert "GPU 91.3 MB" in lines
    assert "2 thread(s)" in text


def test_sessions_are_apart():
    text = show([record(WHOLE), record(WHOLE, session="3d6f5769")])
    assert text.index("dd855641") < text.index("3d6f5769")
    assert text.count("GFLOP") == 2


def test_what_an_older_record_lacks_is_a_dash():
    kept = {"latency", "load_time", "peak_memory"}
    text = show([record({key: value for key, value in WHOLE.items() if key[0] in kept})])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "sst2/albert-tiny/quantize-a42dc0e0 1 × 128 4.39 (4.35–4.43) – – – 705 MB" in lines
    assert "onnxruntime, loaded in 0.17 s 32 × 128 1689 (1672–1706) – – –" in lines
