"""Blocks against a plain transcription: what the runtime unpacks is what was meant."""

import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from compress.quantization.blocks import fit_block, pack_product, pack_table

SHAPES = [(5, 40), (7, 64), (3, 24), (9, 200)]


def unpack(blocks, *, bits, width, block_size):
    """Plain numbers again, a row at a time: (code − zero point) · scale."""
    codes = blocks.codes.reshape(blocks.codes.shape[0], -1)
    rows, count = blocks.scales.shape
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(rows, -1)
    zeros = np.full((rows, count), 2 ** (bits - 1))
    if blocks.zero_points is not None:
        packed = blocks.zero_points
        zeros = (
            packed
            if bits == 8
            else np.stack([packed & 15, packed >> 4], axis=-1).reshape(rows, -1)[:, :count]
        )
    repeated = [
        np.repeat(values.astype(np.float64), block_size, axis=1)[:, :width]
        for values in (zeros, blocks.scales)
    ]
    return (codes[:, :width] - repeated[0]) * repeated[1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_number_is_further_than_a_step_from_its_own(shape, bits, symmetric):
    table = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    blocks = pack_table(table, bits=bits, block_size=32, symmetric=symmetric)
    restored = unpack(blocks, bits=bits, width=shape[1], block_size=32)
    steps = np.repeat(abs(blocks.scales), 32, axis=1)[:, : shape[1]]
    assert (abs(restored - table) <= steps * 1.01).all()  # the far end of a symmetric range is one step short
    assert np.median(abs(restored - table) / steps) < 0.3
    assert blocks.codes.nbytes == shape[0] * shape[1] * bits // 8


def test_a_row_of_zeros_stays_one():
    for symmetric in (True, False):
        blocks = pack_table(np.zeros((2, 32), np.float32), bits=4, block_size=32, symmetric=symmetric)
        assert not unpack(blocks, bits=4, width=32, block_size=32).any()


def run(node, tensors, inputs, shape):
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kind, dims) for name, kind, dims in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items() if array is not None],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_runtime_looks_up_what_was_stored(shape, bits, symmetric):
    """Guards zero points of rows with an odd number of blocks, which are packed as codes are."""
    table = np.random.default_rng(1).normal(size=shape).astype(np.float32) + 0.5
    blocks = pack_table(table, bits=bits, block_size=32, symmetric=symmetric)
    tensors = {"codes": blocks.codes, "scales": blocks.scales, "zeros": blocks.zero_points}
    names = [name for name, array in tensors.items() if array is not None]
    node = helper.make_node(
        "GatherBlockQuantized",
        [names[0], "rows", *names[1:]],
        ["y"],
        domain="com.microsoft",
        gather_axis=0,
        quantize_axis=1,
        block_size=32,
        bits=bits,
    )
    session = run(node, tensors, [("rows", TensorProto.INT64, ["n"])], None)
    rows = np.array([2, 0, 1, 2])
    wanted = unpack(blocks, bits=bits, width=shape[1], block_size=32)[rows]
    np.testing.assert_allclose(session.run(None, {"rows": rows})[0], wanted, atol=1e-5)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_runtime_multiplies_by_what_was_stored(bits, symmetric):
    matrix = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
    blocks = pack_product(matrix, bits=bits, block_size=32, symmetric=symmetric)
    restored = unpack(blocks, bits=bits, width=40, block_size=32).T
    assert abs(restored - matrix).max() <= 1.01 * abs(blocks.scales).max()
    tensors = {"codes": blocks.codes, "scales": blocks.scales, "zeros": blocks.zero_points}
    names = [name for name, array in tensors.items() if array is not None]
    node = helper.make_node(
        "MatMulNBits", ["x", *names], ["y"], domain="com.microsoft", K=40, N=6, bits=bits, block_size=32
    )
    session = run(node, tensors, [("x", TensorProto.FLOAT, [3, 40])], None)
    x = np.random.default_rng(3).normal(size=(3, 40)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ restored, atol=1e-4)


@pytest.mark.parametrize(
    ("width", "asked", "fitting"),
    [
        (128, 128, 128),
        (312, 128, 64),
        (312, 64, 64),
        (312, 32, 32),
        (24, 64, 32),
        (1200, 128, 128),
        (8, 256, 16),
    ],
)
def test_blocks_that_would_be_padded_are_halved(width, asked, fitting):
    assert fit_block(width, bits=4, block_size=asked) == fitting


def test_packing_leaves_the_root_logger_alone():
    """Guards pages of other libraries' chatter on stderr: ONNX Runtime's module configures logging as it is imported."""
    code = (
        "import logging, numpy as np\n"
        "from compress.quantization.blocks import pack_product\n"
        "pack_product(np.eye(32, dtype=np.float32), bits=4, block_size=32, symmetric=True)\n"
        "root = logging.getLogger()\n"
        "print(root.level, root.handlers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "30 []"
