"""How many decisions may be kept so that, with a stated confidence, few enough of them are wrong."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dspy_router.runtime.certificate import Certificate

# Scores nearer to each other than this are one: more than the order of a sum can change one by.
_A_TIE = 1e-5
# Where searches begin, as shares of the examples from few to many, and how much of the permitted error each is given.
# A third lost least of the coverage on clinc150's and toole's validation parts (of 30, 40, 50 and 70 %); the others are
# for routers of which only a small part can be kept.
_BEGINS = ((1 / 27, 0.1), (1 / 9, 0.2), (1 / 3, 0.7))
_MOST_TIMES = 100.0  # an estimate of what is missing beyond this many times the examples says nothing


def certify(
    scores: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    *,
    max_risk: float,
    confidence: float,
    tool: str | None = None,
) -> Certificate:
    """The lowest bar whose kept decisions are, with this confidence, wrong no more often than `max_risk`.

    Theorem. Let the examples be n independent draws from the distribution of the decisions to come (exchangeable with
    them), the score a function of the input that was fixed without looking at these examples' labels, and
    `R(t) = P(wrong | score > t)`. Then with probability at least `confidence` over the draw of the examples, the bar t̂
    that is returned has `R(t̂) ≤ max_risk`, if R does not fall when t falls. (Where it does, as of a score whose very
    best are worse than the rest, that holds as long as the examples above every violating bar number at least those
    that the search begins with.)

    Proof sketch. Sort by score. For the m highest, test the hypothesis `R > max_risk` by the exact binomial p-value
    `P(Bin(m, max_risk) ≤ errors among them)`: given the score of the next one, the m above it are independent draws
    from all decisions above it. Test in a fixed order, every m upwards from a first one, and stop at the first that is
    not rejected. With t* the highest bar that violates and M the number of scores above it, those M are independent
    draws with a risk of at least max_risk given M, and a search that began above cannot pass t* without passing the
    test at m = M. A search that begins below t* meets errors more often still. Searches begin at a 27th, a ninth and a
    third of the examples (or at the next m below at which some number of errors is just allowed), with shares of
    δ = 1 − confidence as 1 to 2 to 7; one that arrives where the next begins brings its share along. So the chance that
    any violating bar is passed is at most δ. Where they begin depends on neither labels nor scores. Ties are tested
    together.

    Sources: Geifman & El-Yaniv 2017, "Selective classification for deep neural networks" (selection with guaranteed
    risk; they search by bisection with δ divided by the number of tests); Angelopoulos, Bates, Candès, Jordan & Lei
    2021, "Learn then test: calibrating predictive algorithms to achieve risk control" (the fixed sequence, and several
    beginnings); Wiens & Dmitrienko 2005, "The fallback procedure for evaluating a single family of hypotheses" (what a
    search brings along).

    Args:
        scores: How sure each decision is, [n]; higher is surer.
        wrong: Which decisions are wrong, [n].
        max_risk: Share of wrong ones among the kept, in (0, 1).
        confidence: Probability that it holds, in (0, 1).
        tool: What the certificate is about, see `Certificate.tool`.
    """
    ranked, errors = _rank(scores, wrong)
    n = len(ranked)
    kept = _search(ranked, errors, max_risk, 1.0 - confidence)
    if kept == 0:
        more = _more_examples(errors, max_risk, confidence) if n else minimum_examples(max_risk, confidence)
        return Certificate(tool, max_risk, confidence, math.inf, n, 0, 0, more)
    # Half-way to the first one that is not kept, so that rounding cannot push an example over the bar.
    bar = -math.inf if kept == n else float(ranked[kept - 1] + ranked[kept]) / 2
    return Certificate(tool, max_risk, confidence, bar, n, kept, int(errors[kept - 1]))


def minimum_examples(max_risk: float, confidence: float) -> int:
    """Below this many examples nothing can be certified, not even without a single error: `(1 − risk)ⁿ ≤ 1 − conf.`."""
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-max_risk) - 1e-9)


def at_least(successes: int, n: int, confidence: float) -> float:
    """The exact lower bound of a probability from its successes in n trials (Clopper & Pearson 1934), one-sided."""
    from scipy.stats import beta

    return 0.0 if successes == 0 else float(beta.ppf(1.0 - confidence, successes, n - successes + 1))


def at_most(successes: int, n: int, confidence: float) -> float:
    """The exact upper bound of a probability from its successes in n trials (Clopper & Pearson 1934), one-sided."""
    from scipy.stats import beta

    return 1.0 if successes == n else float(beta.ppf(confidence, successes + 1, n - successes))


def cheapest_bar(
    scores: NDArray[np.float64], wrong: NDArray[np.bool_], *, wrong_costs: float, asking_costs: float
) -> float:
    """The bar with the least mean cost on these examples; infinite if it is cheapest to keep nothing.

    Args:
        scores: How sure each decision is, [n].
        wrong: Which decisions are wrong, [n].
        wrong_costs: What a kept wrong decision costs.
        asking_costs: What it costs to hand one over, the language model's own errors included.
    """
    ranked, errors = _rank(scores, wrong)
    n = len(ranked)
    ends = np.flatnonzero(_ends(ranked))
    kept = ends + 1
    costs = np.append(n * asking_costs, errors[ends] * wrong_costs + (n - kept) * asking_costs)
    best = int(np.argmin(costs))
    if best == 0:
        return math.inf
    last = int(ends[best - 1])
    return -math.inf if last == n - 1 else float(ranked[last] + ranked[last + 1]) / 2


def _rank(scores: NDArray[np.float64], wrong: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The scores in descending order, and how many are wrong up to each."""
    order = np.argsort(-scores, kind="stable")
    return scores[order], np.cumsum(wrong[order], dtype=np.int64)


def _search(ranked: NDArray[np.float64], errors: NDArray[np.int64], max_risk: float, delta: float) -> int:
    """How many of the highest are kept; 0 if no search gets anywhere."""
    from scipy.stats import binom

    sizes = np.flatnonzero(_ends(ranked)) + 1
    values = binom.cdf(errors[sizes - 1], sizes, max_risk)
    kept, level = 0, 0.0
    for start, share in _starts(len(ranked), max_risk, delta):
        at = int(np.searchsorted(sizes, start))
        # Whoever has come as far as the test before this beginning brings its level along.
        arrived = at > 0 and kept >= sizes[at - 1]
        level = share + (level if arrived else 0.0)
        passed = values[at:] <= level
        count = len(passed) if passed.all() else int(np.argmin(passed))
        kept = int(sizes[at + count - 1]) if count else kept
    return kept


@lru_cache(maxsize=1024)
def _starts(n: int, max_risk: float, delta: float) -> tuple[tuple[int, float], ...]:
    """Where searches begin, as numbers of examples, ascending, and the level that each brings."""
    last = _BEGINS[-1][0]
    level, starts = delta, []
    for share, weight in _BEGINS[:-1]:
        start = _fullest(int(n * share), max_risk, delta * weight)
        # One that would not begin well before the last leaves its share to it.
        if start < int(n * last):
            starts.append((start, delta * weight))
            level -= delta * weight
    start = _fullest(int(n * last), max_risk, level)
    return (*(one for one in starts if one[0] < start), (start, level)) if start <= n else tuple(starts)


def _fullest(most: int, max_risk: float, level: float) -> int:
    """The largest m ≤ `most` that just still allows some number of errors; else the least that allows none."""
    from scipy.stats import binom

    least = minimum_examples(max_risk, 1.0 - level)
    if most < least:
        return least
    allowed = int(binom.ppf(level, most, max_risk))
    while binom.cdf(allowed, most, max_risk) > level:
        allowed -= 1
    low, high = least - 1, most  # the test fails at `low` or below the least, and is passed at `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binom.cdf(allowed, middle, max_risk) <= level else (middle, high)
    return high


def _ends(ranked: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which positions are the last of equal scores, in descending order."""
    return np.append(ranked[:-1] - ranked[1:] > _A_TIE, True)[: len(ranked)]


def _more_examples(errors: NDArray[np.int64], max_risk: float, confidence: float) -> int | None:
    """About how many further examples would certify something, if further ones went like these.

    The least multiple of the examples at which some search could begin: with the errors seen so far in proportion, and
    one more.
    """
    from scipy.stats import binom

    n = len(errors)
    seen = np.concatenate([[0], errors])
    for times in np.geomspace(1.0, _MOST_TIMES, 93):
        for start, level in _starts(int(n * times), max_risk, 1.0 - confidence):
            expected = np.ceil(np.interp(start / times, np.arange(n + 1), seen) * times) + 1
            if start <= int(n * times) and binom.cdf(expected, start, max_risk) <= level:
                return max(1, int(n * times) - n)
    return None
