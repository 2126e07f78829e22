"""Fixed scales: a text's integers do not depend on its neighbours, and hold what the examples showed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from exporting import TEXTS, exported, trained
from onnx import TensorProto, helper, numpy_helper

from dspy_router.routing.exporting.scales import fix_scales, has_dynamic_scales
from dspy_router.runtime import head
from dspy_router.runtime.sessions import open_session

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(8, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
TENSOR = TensorProto.FLOAT


def dynamic(*, bias: bool = True, alone: bool = False) -> bytes:
    """A product with 8-bit weights, its activation quantised in the same operator or in one before it."""
    scale = np.abs(WEIGHTS).max(0) / 127
    constants = {"w": np.round(WEIGHTS / scale).astype(np.int8), "ws": scale, "wz": np.zeros(4, np.int8), "b": BIAS}
    end = ["b"] if bias else []
    product: Any = {"domain": "com.microsoft"}
    if alone:
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("MatMulIntegerToFloat", ["q", "w", "s", "ws", "z", "wz", *end], ["y"], **product),
        ]
    else:
        nodes = [helper.make_node("DynamicQuantizeMatMul", ["x", "w", "ws", "wz", *end], ["y"], **product)]
    shapes = [[helper.make_tensor_value_info(name, TENSOR, ["n", size])] for name, size in (("x", 8), ("y", 4))]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "graph", *shapes, initializer=tensors)
    return helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(model).run(None, {"x": x.astype(np.float32)})[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("alone", [True, False])
class TestScales:
    def test_a_row_is_the_same_beside_any_other(self, bias, alone):
        model = dynamic(bias=bias, alone=alone)
        rows = RNG.normal(size=(3, 8)) * [[1], [1], [50]]
        fixed = fix_scales(model, [{"x": rows[:2].astype(np.float32)}])
        np.testing.assert_array_equal(run(fixed, rows)[:1], run(fixed, rows[:1]))
        assert np.abs(run(model, rows)[:1] - run(model, rows[:1])).max() > 1e-3

    def test_what_lies_within_the_range_is_nearly_what_it_was(self, bias, alone):
        rows = RNG.uniform(-1, 2, size=(20, 8))
        fixed = fix_scales(dynamic(bias=bias, alone=alone), [{"x": row[None].astype(np.float32)} for row in rows])
        np.testing.assert_allclose(run(fixed, rows), rows @ WEIGHTS + bias * BIAS, atol=0.1)

    def test_what_lies_beyond_is_cut(self, bias, alone):
        row = np.ones((1, 8))
        fixed = fix_scales(dynamic(bias=bias, alone=alone), [{"x": row.astype(np.float32)}])
        np.testing.assert_array_equal(run(fixed, 9 * row), run(fixed, row))

    def test_what_was_zero_in_every_example_stays_zero(self, bias, alone):
        fixed = fix_scales(dynamic(bias=bias, alone=alone), [{"x": np.zeros((1, 8), np.float32)}])
        np.testing.assert_allclose(run(fixed, np.zeros((1, 8))), [bias * BIAS], atol=1e-6)


def test_which_graph_must_be_given_one_text_at_a_time():
    model = dynamic()
    assert has_dynamic_scales(model)
    assert not has_dynamic_scales(fix_scales(model, [{"x": np.ones((1, 8), np.float32)}]))


@pytest.mark.parametrize("encoder", ["hash", "transformer", "gru"])
def test_an_int8_router_decides_in_batches_as_it_does_alone(encoder, tmp_path):
    router = exported(trained(encoder, **({} if encoder == "hash" else {"dim": 32})), tmp_path / "r", quantize="int8")
    alone = np.concatenate([router.probabilities([text]) for text in TEXTS])
    np.testing.assert_allclose(router.probabilities(TEXTS), alone, atol=1e-6)
    graphs = [onnx.load(path).graph for path in (tmp_path / "r").glob("*.onnx")]
    assert not [node for graph in graphs for node in graph.node if node.op_type.startswith("Dynamic")]


def test_an_int8_router_of_an_earlier_release_still_goes_text_by_text(tmp_path):
    """Its index does not say whether the policy's graph takes several."""
    router = exported(trained(), tmp_path / "r", quantize="int8")
    index = {"neighbours": None, "vocabulary": {"words": [], "idf": [], "rarest": 1.0}}
    files = {head.GRAPH: (tmp_path / "r" / head.GRAPH).read_bytes()}
    assert head.read_head(index, files, tools=router.tools, precision="int8")._alone
    assert not head.read_head({**index, "policy_alone": False}, files, tools=router.tools, precision="int8")._alone
