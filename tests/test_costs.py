"""The cost model: the example's three against one, prices that are known or said to be unknown, and loops that grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_router.evaluation.costs import (
    CallCount,
    CallShape,
    CostModel,
    Phase,
    Price,
    Usage,
    constant_calls,
    loop_calls,
    multiple,
)

MINI = Price(input=0.15, output=0.60)
TABLE = {
    "gpt-4o-mini": {"input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7},
    "local": {"max_tokens": 4096},
}
TURN = CallShape(fixed=100, per_tool=50, per_step=30, output=20)
LAST = CallShape(fixed=80, per_tool=0, per_step=30, output=10)
LOOP = CostModel((Phase(TURN, each_step=True, extra=1), Phase(LAST, each_step=False)))
OURS = CostModel((Phase(CallShape(fixed=200, per_tool=0, per_step=0, output=10), each_step=False),))


def test_three_calls_against_one_cost_three_times_as_much_at_any_price():
    for price in (None, MINI, Price(10, 30)):
        assert multiple(constant_calls(loop_calls(1)), constant_calls(1), price) == pytest.approx(3.0)


def test_a_deeper_chain_of_calls_of_one_size_costs_a_call_a_tool():
    assert [multiple(constant_calls(loop_calls(d)), constant_calls(1)) for d in (2, 4, 8)] == [4.0, 6.0, 10.0]


def test_dollars_are_of_a_million_tokens():
    assert Usage(2, 1_000_000, 500_000).dollars(MINI) == pytest.approx(0.15 + 0.30)


def test_a_price_is_found_with_and_without_its_provider():
    assert Price.find("gpt-4o-mini", TABLE) == Price.find("openai/gpt-4o-mini", TABLE)
    assert Price.find("gpt-4o-mini", TABLE).output == pytest.approx(0.60)


@pytest.mark.parametrize("model", ["openai/gpt-4o-min", "local"])
def test_an_unknown_price_is_said_and_not_zero(model):
    with pytest.raises(LookupError, match="unknown, not zero"):
        Price.find(model, TABLE)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "0.15", None, True])
def test_a_price_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="finite number of dollars a million output"):
        Price(1.0, value)


def test_a_loop_by_hand():
    # Turns before 0, 1 and 2 steps with 5 tools: 350, 380, 410; then once more after 2 steps: 140.
    usage = LOOP.usage(depth=2, tools=5)
    assert usage == Usage(4, 350 + 380 + 410 + 140, 3 * 20 + 10)


@given(depth=st.integers(1, 20), tools=st.integers(1, 1000), more=st.integers(1, 50))
def test_what_sees_no_tools_and_no_steps_costs_the_same_everywhere_and_a_loop_ever_more(depth, tools, more):
    assert OURS.usage(depth + more, tools + more) == OURS.usage(depth, tools)
    assert LOOP.usage(depth + more, tools).tokens > LOOP.usage(depth, tools).tokens
    assert LOOP.usage(depth, tools + more).tokens > LOOP.usage(depth, tools).tokens


def test_a_shape_is_found_again_in_what_it_counts():
    counts = [CallCount(k, s, TURN.input_tokens(k, s), TURN.output) for k in (5, 20) for s in (0, 1)]
    fitted = CallShape.fit(counts)
    assert (fitted.fixed, fitted.per_tool, fitted.per_step) == pytest.approx((100, 50, 30))
    assert fitted.output == 20


def test_counts_that_do_not_tell_a_tool_from_a_step_are_refused():
    with pytest.raises(ValueError, match=r"tools \[5, 20\] and steps \[0, 1\]"):
        CallShape.fit([CallCount(5, 0, 350, 20), CallCount(20, 1, 1130, 20), CallCount(5, 0, 351, 20)])
    with pytest.raises(ValueError, match="0 measured calls"):
        CallShape.fit([])


def test_a_call_that_no_step_comes_before_needs_none_to_be_fitted():
    counts = [CallCount(k, 0, TURN.input_tokens(k, 0), 20) for k in (5, 20)]
    assert CallShape.fit(counts, by_steps=False).input_tokens(7, 3) == pytest.approx(100 + 7 * 50)
    with pytest.raises(ValueError, match=r"what a tool adds to a prompt: expected at least two numbers of tools; got"):
        CallShape.fit(counts[:1] * 2, by_steps=False)


@pytest.mark.parametrize(("depth", "tools"), [(0, 5), (1, 0)])
def test_no_step_and_no_tool_is_nothing_to_price(depth, tools):
    with pytest.raises(ValueError, match="at least 1"):
        LOOP.usage(depth, tools)


def test_what_costs_nothing_has_no_multiple():
    with pytest.raises(ValueError, match="no multiple"):
        multiple(constant_calls(3), Usage())
