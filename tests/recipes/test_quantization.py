"""Methods as recipes: keys of older runs hold, options are told apart, what cannot work is refused at once."""

import json

import pytest

from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.recipes.quantization import (
    METHODS,
    DynamicInt8,
    Fp16,
    PackedInt4,
    PackedInt8,
    StaticInt8,
    describe_methods,
    require_installed,
    resolve_method,
    settle,
)
from compress.recipes.stages import Export, Quantize, reads_data


def test_a_method_of_before_there_were_others_is_written_as_it_was():
    """Guards the keys of runs that are there."""
    written = json.loads(Quantize(method=DynamicInt8()).model_dump_json())
    assert written == {"kind": "quantize", "method": {"kind": "dynamic-int8", "per_channel": True}}
    assert Quantize.model_validate(written).method == DynamicInt8()


def test_what_is_kept_is_written():
    stage = Quantize(method=DynamicInt8(keep=("classifier",), max_drop=0.0))
    written = json.loads(stage.model_dump_json())["method"]
    assert written["keep"] == ["classifier"]
    assert written["max_drop"] == 0.0
    assert Quantize.model_validate({"method": written}) == stage


@pytest.mark.parametrize("saturates", [True, False])
def test_this_machine_decides_what_a_recipe_leaves_open(saturates, monkeypatch):
    """Guards keys: what is made where sums do not saturate is the run that it was before there was a choice."""
    monkeypatch.setattr("compress.recipes.quantization.saturates_int8", lambda: saturates)
    assert settle(DynamicInt8()).reduce_range is saturates
    assert settle(DynamicInt8(reduce_range=not saturates)).reduce_range is not saturates
    assert settle(PackedInt4()) == PackedInt4()
    written = json.loads(Quantize(method=settle(StaticInt8())).model_dump_json())["method"]
    assert written.get("reduce_range", False) is saturates
    assert (written == json.loads(StaticInt8().model_dump_json())) is not saturates


@pytest.mark.parametrize(
    ("method", "reads"),
    [
        (DynamicInt8(), False),
        (DynamicInt8(max_drop=0.0), True),
        (StaticInt8(), True),
        (PackedInt4(keep=("classifier",)), False),
        (Fp16(), False),
    ],
)
def test_data_decide_where_scales_or_layers_are_chosen_by_them(method, reads):
    assert reads_data(Quantize(method=method)) is reads
    assert not reads_data(Export())


def test_every_method_says_what_it_is_and_what_it_leaves():
    assert set(describe_methods()) == set(METHODS)
    for name, method in METHODS.items():
        assert method.model_fields["kind"].default == name
        assert describe_methods()[name]
        assert method.leaves
        assert method.makers or not method.packages


def test_options_choose():
    assert resolve_method("packed-int4", {"block_size": 32, "symmetric": True, "format": None}) == PackedInt4(
        block_size=32, symmetric=True
    )
    assert resolve_method("packed-int8", {"keep": ["classifier"], "max_drop": 0.01}) == PackedInt8(
        keep=("classifier",), max_drop=0.01
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dynamic-int8", {"block_size": 32}, "dynamic-int8 takes no --block-size.*packed-int8, packed-int4"),
        ("packed-int4", {"block_size": 33}, "block_size: .*received 33"),
        ("fp16", {"keep": ["classifier"]}, "fp16 takes no --keep"),
        ("static-int8", {"samples": 0}, "samples"),
        ("static-int8", {"max_drop": 1.5}, "max_drop"),
    ],
)
def test_options_that_do_not_fit_are_told(name, options, message):
    with pytest.raises(InvalidInputError) as caught:
        resolve_method(name, options)
    import re

    assert re.search(message, f"{caught.value.problem} {caught.value.fix}", re.DOTALL)


def test_an_unknown_method_lists_those_that_are_there():
    with pytest.raises(UnknownNameError, match="dynamic-int9") as caught:
        resolve_method("dynamic-int9", {})
    assert "dynamic-int8" in caught.value.fix


def test_a_missing_package_is_told_with_what_installs_it():
    class Elsewhere(DynamicInt8):
        packages = ("no-such-package",)
        extra = "elsewhere"

    with pytest.raises(CompressError, match="no-such-package") as caught:
        require_installed(Elsewhere())
    assert "compress-encoders[elsewhere]" in caught.value.fix
    require_installed(DynamicInt8())
