import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.reporting import formats, wording
from compress.reporting.schema import Interval


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "compress report /home/alice/work/runs/sst2 --output-dir reports/x",
            "compress report …/runs/sst2 --output-dir reports/x",
        ),
        ("--glue=/data/glue", "--glue=…/glue"),
        ("--corpus '/mnt/my disk/a b/corpus'", "--corpus '…/a b/corpus'"),
        ("directory file:///home/alice/models/bert", "directory …/models/bert"),
        (r"C:\Users\alice\models\bert", "…/models/bert"),
        ("https://huggingface.co/a/b/c", "https://huggingface.co/a/b/c"),
        (
            "runs/sample/albert ./a/b/c ../a/b/c ~/a/b/c a / b",
            "runs/sample/albert ./a/b/c ../a/b/c ~/a/b/c a / b",
        ),
    ],
)
def test_only_absolute_paths_are_shortened(text, shown):
    assert wording.show(text) == shown
    assert wording.show(shown) == shown


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_a_dash(value):
    """Guards `nan` on a page, and an error where infinity is rounded."""
    written = [
        *(getattr(formats, f"format_{what}")(value) for what in ("significant", "bytes", "count", "ratio")),
        *(getattr(formats, f"format_{what}")(value) for what in ("score", "share", "points", "seconds")),
    ]
    assert written == ["–"] * len(written)
    assert formats.format_change(value, "smaller", "larger") == "–"
    bounds = Interval(value=value, low=value, high=0.5)
    assert formats.format_difference(bounds) == "– (– to +0.500)"
    assert [formats.format_range(bounds, style) for style in ("score", "share", "ratio")] == [
        "––0.500",
        "––50.0",
        "––0.500",
    ]


@given(st.text())
def test_nothing_hidden_is_shown(text):
    shown = wording.show(text)
    assert not any(
        ord(c) < 32 or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\x7f"
        for c in shown
    )


def test_hidden_characters_become_their_names():
    assert wording.show("a\u202eb\x1b[1m\n") == "a\\u202eb\\u001b[1m\\u000a"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (1.234, "1.23"),
        (9.999, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (12345, "12345"),
        (0, "0"),
    ],
)
def test_three_significant_digits(value, text):
    assert formats.format_significant(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (22_713_216, "22.7 MB"), (999_999_999, "1.00 GB")],
)
def test_bytes_in_powers_of_1000(count, text):
    assert formats.format_bytes(count) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(4, "4.00× faster"), (0.25, "4.00× slower"), (1.004, "no faster"), (0.996, "no faster")],
)
def test_ratios_in_words(ratio, text):
    assert formats.format_change(ratio, "faster", "slower") == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((4, 2, 5), "4.00× faster (2.00–5.00)"),
        ((0.5, 0.25, 0.8), "2.00× slower (1.25–4.00)"),
        ((0.8, 0.5, 1.25), "1.25× slower (0.800–2.00)"),
        ((0.998, 0.5, 2), "no faster (0.500–2.00)"),
    ],
)
def test_a_ratio_and_its_bounds_are_told_in_one_sense(bounds, text):
    """Guards a value of times slower beside bounds of times faster, which do not even hold it."""
    interval = Interval(value=bounds[0], low=bounds[1], high=bounds[2])
    assert formats.format_change_with_range(interval, "faster", "slower") == text


def test_engines_go_by_their_makers_names():
    timed = [
        ("a", "pytorch"),
        ("b", "pytorch"),
        ("c", "onnxruntime"),
        ("d", "openvino"),
        ("e", "onnxruntime"),
    ]
    assert wording.describe_engines(timed) == "in PyTorch, but c and e in ONNX Runtime; d in OpenVINO"
    assert wording.describe_engines(timed[:2]) == "in PyTorch"
    assert wording.name_engine("tensorrt") == "tensorrt"


def test_ranges():
    interval = Interval(value=0.9, low=-0.0501, high=0.951)
    assert formats.format_range(interval, "score") == "−0.050–0.951"
    assert formats.format_range(interval, "share") == "−5.0–95.1"


def test_names_in_a_sentence():
    assert [wording.join_names(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("loss", "training loss"),
        ("eval_loss", "hold-out: loss"),
        ("eval_masked_lm", "hold-out: hidden words, loss"),
        ("eval_masked_lm_accuracy", "hold-out: hidden words, accuracy"),
        ("eval_replaced_tokens_recall", "hold-out: replaced tokens, recall"),
        ("eval_replaced_tokens_share", "hold-out: replaced tokens, share"),
        ("eval_score", "hold-out: score"),
    ],
)
def test_quantities_of_a_log_have_names(name, words):
    assert wording.name_quantity(name) == words
