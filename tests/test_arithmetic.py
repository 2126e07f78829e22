"""Arithmetic in figures and words: read right, nothing executed, nothing guessed, nothing too large."""

from __future__ import annotations

import pytest

from dspy_router.demo.arithmetic import calculate


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("-2 ** 2", -4),
        ("3 * -4", -12),
        ("sqrt(9) + square root of 16", 7),
        ("what's 12% of 80 plus 5", 14.6),
        ("200 plus 10%", 220),
        ("€12.50 times 4", 50),
        ("cube root of 27", 3),
        ("subtract 7 from 20", 13),
        ("the sum of 3, 4 and 5", 12),
        ("17 mod 5", 2),
        ("1,250.5 * 2", 2501),
        ("0.1 + 0.2", 0.3),
    ],
)
def test_calculate_reads_figures_and_words(text, result):
    assert calculate(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('ls')",
        "os.system(1) + 2",
        "(1).real + 1",
        "open(3) + 4",
        "lambda: 3",
        "2 + x",
        "a1 + 2",
        "[3, 4]",
        "what is 5",
        "",
        "1 + 1 and 2 + 2",
        "12 times what is 36",
        "1 / 0",
        "square root of -4",
        "2 **",
        "9" * 500 + " + 1",
        "(" * 150 + "1" + ")" * 150 + " + 1",
    ],
)
def test_calculate_refuses_what_is_no_single_expression(text):
    with pytest.raises(ValueError, match=r"[Ee]xpect|[Oo]nly|Not an|No result|No real|at most"):
        calculate(text)


@pytest.mark.parametrize("text", ["2**10**10", "9 ** 9 ** 9", "(9**999)**999", "10 ** 100000", "1.5 ** 10000000"])
def test_calculate_refuses_huge_powers_before_computing_them(text):
    with pytest.raises(ValueError, match="too large"):
        calculate(text)
