"""What it costs to let a language model choose: tokens and dollars by depth and by number of tools, at the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from benchmarks.figures import Benchmark, Figure
from benchmarks.loopback import Exchange
from benchmarks.loopback.tokens import model_prices
from benchmarks.setting import BFCL, Setting
from benchmarks.workload import CHOOSING, MODEL, SIGNATURE, Desk, Program, Synthesis, Workload, read_crowd
from dspy_router.evaluation.cost_plots import token_growth
from dspy_router.evaluation.costs import (
    EXAMPLE_TOKENS,
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
from dspy_router.evaluation.plots import save
from dspy_router.program.synthesis import Mode

DEPTHS, TOOLS, AT_TOOLS = (1, 2, 4, 8), (5, 20, 50, 100, 200, 500), 20
FITTED_TOOLS, FITTED_DEPTHS = (5, 50), (1, 2)
PLANS = 5
EXAMPLE, FLAT = 3.0, 0.02
OURS, HISTORY = "routed, one synthesis", "routed, one synthesis with the whole history"
CHAIN = "three-call chain"
_MODES: Mapping[str, Mode] = {OURS: "result", HISTORY: "history"}
_QUICK = {"depths": (1, 2, 4), "sizes": (5, 20, 50), "plans": 2}

Point = tuple[int, int]  # tools, depth


@dataclass
class Measured:
    """What a server received from one program.

    Attributes:
        usage: Calls and tokens an answer, a mean over the plans, by number of tools and depth.
        counts: Each call of the points that the cost model is fitted to, by kind.
    """

    usage: dict[Point, Usage] = field(default_factory=dict)
    counts: dict[str, list[CallCount]] = field(default_factory=lambda: defaultdict(list))

    def model(self, name: str) -> CostModel:
        """The cost model of the program, fitted to its counts."""
        shapes = {kind: CallShape.fit(counts, by_steps=kind in _BY_STEPS) for kind, counts in self.counts.items()}
        extra = {"turn": 0 if name == CHAIN else 1}
        return CostModel(tuple(Phase(shapes[k], k in _EACH_STEP, extra.get(k, 0)) for k in shapes))


# A chain's own prompts show no earlier step: it is over before there is one.
_BY_STEPS, _EACH_STEP = {"turn", "end"}, {"turn", "choose", "fill"}


def run(setting: Setting) -> Iterator[Figure]:
    """Tokens an answer takes where a language model chooses, and where the router does, as a server counted them.

    The programs are DSPy's own and run against a server on the loopback interface, through `dspy.LM`; a scripted model
    makes the calls that the plan has and writes a sentence each time. The prompts are what the adapters really sent;
    tokens are counted by the tokenizer of GPT-4o. Of the tools five are the demo's, which are really called; the others
    are those of bfcl's questions. A router's choice and arguments filled by its rules take no call; where its rules
    cannot fill a call, the `fill` of the three-call chain comes on top. An agent takes one step an answer for now: at
    greater depth ours is the one synthesis over that many steps, without the agent around it.
    """
    if not setting.wants("bfcl"):
        return
    yield from example()
    grid = _QUICK if setting.quick else {"depths": DEPTHS, "sizes": TOOLS, "plans": PLANS}
    workload = Workload.draw(read_crowd(setting.data), grid["plans"], seed=setting.seed)
    measured = measure(workload, grid["depths"], grid["sizes"], progress=True)
    price, priced = _price()
    for depth in grid["depths"]:
        yield _multiple(measured, depth, price, priced)
    yield _growth(measured, grid["sizes"], grid["depths"])
    yield _error(measured)
    _draw(setting, measured, grid["depths"], grid["sizes"])


def example() -> Iterator[Figure]:
    """The example that started it: three calls where a language model chooses, against one, all of one size."""
    ours = constant_calls(1)
    yield Figure(
        f"the example: {loop_calls(1)} calls of {EXAMPLE_TOKENS} tokens in and {EXAMPLE_TOKENS} out, against one",
        multiple(constant_calls(loop_calls(1)), ours),
        "arithmetic",
        "bfcl",
        unit="times",
        target=EXAMPLE,
        baselines={f"at depth {d}": multiple(constant_calls(loop_calls(d)), ours) for d in DEPTHS[1:]},
        note="without any growth of the context: a turn a tool, one to end and one to write",
    )


def measure(
    workload: Workload, depths: Sequence[int], sizes: Sequence[int], *, progress: bool = False
) -> dict[str, Measured]:
    """Run every program: at every depth with 20 tools, at the least and the greatest depth with any number of tools."""
    ends = (depths[0], depths[-1])
    points = dict.fromkeys([(AT_TOOLS, d) for d in depths] + [(k, d) for k in sizes for d in ends])
    fitted = [(k, d) for k in FITTED_TOOLS for d in FITTED_DEPTHS]
    grid = list(dict.fromkeys([*points, *fitted]))
    found = {name: Measured() for name in (*CHOOSING, *_MODES)}
    for name, one in tqdm(found.items(), desc="programs", delay=2, disable=not progress):
        settings = CHOOSING[name][1] if name in CHOOSING else {}
        with Desk.open(**settings) as desk:
            for tools, depth in grid:
                if name == CHAIN and depth > 1:
                    continue  # it calls one tool
                _run(desk, name, workload, one, (tools, depth), fitted=(tools, depth) in fitted)
    return found


def _run(desk: Desk, name: str, workload: Workload, into: Measured, point: Point, *, fitted: bool) -> None:
    tools = workload.tools(point[0])
    total = Usage()
    for whole in workload.plans:
        plan = whole.cut(point[1])
        program: Program = (
            CHOOSING[name][0](SIGNATURE, tools) if name in CHOOSING else Synthesis(_MODES[name], tools, plan.calls)
        )
        exchanges = desk.ask(program, plan)
        total += desk.server.usage
        if fitted:
            for kind, count in kinds(name, exchanges, *point):
                into.counts[kind].append(count)
    into.usage[point] = total * (1 / len(workload.plans))


def kinds(name: str, exchanges: Sequence[Exchange], tools: int, depth: int) -> list[tuple[str, CallCount]]:
    """The kind of each call of an answer, and what was counted; a loop makes its turns after none, one, … steps."""
    if name == CHAIN:
        order = [("choose", 0), ("fill", 0), ("write", 1)]
    elif name in _MODES:
        order = [("end", depth)]
    else:
        ends = int(name == "dspy.ReAct")
        turns = len(exchanges) - ends
        order = [*(("turn", steps) for steps in range(turns)), *([("end", depth)] * ends)]
    pairs = zip(order, exchanges, strict=True)
    return [(kind, CallCount(tools, steps, one.input_tokens, one.output_tokens)) for (kind, steps), one in pairs]


def _price() -> tuple[Price | None, str]:
    try:
        price = Price.find(MODEL, model_prices())
    except LookupError as error:
        return None, f"in tokens: {error}"
    return price, f"in dollars, {MODEL} at $ {price.input:g} in and $ {price.output:g} out a million tokens"


def _multiple(measured: Mapping[str, Measured], depth: int, price: Price | None, priced: str) -> Figure:
    point = (AT_TOOLS, depth)
    ours = measured[OURS].usage[point]
    beside = {name: multiple(measured[name].usage[point], ours, price) for name in CHOOSING if name != CHAIN}
    chain = measured[CHAIN].usage.get(point)
    label = CHAIN if chain is not None else f"{CHAIN}, computed"
    beside[label] = multiple(chain or measured[CHAIN].model(CHAIN).usage(depth, AT_TOOLS), ours, price)
    beside[HISTORY] = multiple(measured[HISTORY].usage[point], ours, price)
    beside["calls of one size, as in the example"] = multiple(constant_calls(loop_calls(depth)), constant_calls(1))
    tokens = {name: measured[name].usage[point].tokens for name in ("dspy.ReAct", OURS)}
    return Figure(
        f"dspy.ReAct against one synthesis, depth {depth}, {AT_TOOLS} tools",
        beside.pop("dspy.ReAct"),
        "the demo's questions, bfcl's tools",
        "bfcl",
        unit="times",
        baselines=beside,
        note=f"{priced}; {tokens['dspy.ReAct']:,.0f} against {tokens[OURS]:,.0f} tokens an answer",
    )


def _growth(measured: Mapping[str, Measured], sizes: Sequence[int], depths: Sequence[int]) -> Figure:
    def growth(name: str, depth: int) -> float:
        tokens = [measured[name].usage[size, depth].input_tokens for size in sizes]
        return max(tokens) / min(tokens) - 1

    least, most = depths[0], depths[-1]
    beside = {f"{name}, depth {least}": growth(name, least) for name in CHOOSING}
    return Figure(
        f"growth of the prompts from {sizes[0]} to {sizes[-1]} tools: {OURS}",
        max(growth(OURS, least), growth(OURS, most)),
        "the demo's questions, bfcl's tools",
        "bfcl",
        target=FLAT,
        bound="at most",
        baselines={**beside, f"{HISTORY}, depth {most}": growth(HISTORY, most)},
        note=f"the greater of depth {least} and {most}",
    )


def _error(measured: Mapping[str, Measured]) -> Figure:
    """How far the cost model, fitted to few tools and steps, is off where it was not fitted."""
    worst, seen = {}, 0
    for name, one in measured.items():
        model = one.model(name)
        fitted = {(k, d) for k in FITTED_TOOLS for d in FITTED_DEPTHS}
        errors = [
            abs(model.usage(depth, tools).tokens / usage.tokens - 1)
            for (tools, depth), usage in one.usage.items()
            if (tools, depth) not in fitted
        ]
        worst[name], seen = max(errors), seen + len(errors)
    return Figure(
        "largest error of the cost model, tokens an answer",
        max(worst.values()),
        "the demo's questions, bfcl's tools",
        "bfcl",
        n=seen,
        baselines=worst,
        note=f"fitted to {list(FITTED_TOOLS)} tools at depths {list(FITTED_DEPTHS)}, "
        "held against what the server counted everywhere else; the answers' tokens are the script's",
    )


def _draw(setting: Setting, measured: Mapping[str, Measured], depths: Sequence[int], sizes: Sequence[int]) -> None:
    models = {name: one.model(name) for name, one in measured.items()}
    every = range(depths[0], depths[-1] + 1)
    by_depth = {name: _points(one, [(AT_TOOLS, d) for d in depths], 1) for name, one in measured.items()}
    lines = {name: [(d, model.usage(d, AT_TOOLS).tokens) for d in every] for name, model in models.items()}
    label = f"tools called for an answer, of {AT_TOOLS}"
    save(token_growth(by_depth, computed=lines, x_label=label), setting.out / "costs_depth.png")
    by_tools = {name: _points(one, [(k, 1) for k in sizes], 0) for name, one in measured.items()}
    lines = {name: [(k, model.usage(1, k).tokens) for k in sizes] for name, model in models.items()}
    figure = token_growth(by_tools, computed=lines, x_label="tools to choose from, one called", log_x=True)
    save(figure, setting.out / "costs_tools.png")


def _points(one: Measured, points: Sequence[Point], axis: int) -> list[tuple[float, float]]:
    return [(point[axis], one.usage[point].tokens) for point in points if point in one.usage]


BENCHMARK = Benchmark(
    "costs",
    run,
    target=f"{EXAMPLE:.1f} × for the example; our prompts within {FLAT:.0%} from {TOOLS[0]} to {TOOLS[-1]} tools",
    needs={"bfcl": BFCL[:1]},
)
