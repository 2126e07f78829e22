"""Arithmetic as people write it: `12% of 80`, `square root of 144`, `(3 + 4) * 2`; parsed, never evaluated as code."""

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

_MAX_EXPRESSION = 400  # characters: far more than anybody types, far less than the parser's recursion limit
_MAX_BITS = 4096  # of an integer power: 2**4096 has 1234 digits

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+"
_N = rf"({_NUMBER})"
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORD_NUMBERS = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
    **{f"{ten}{gap}{_UNITS[u]}": 10 * t + u for t, ten in enumerate(_TENS, 2) for u in range(1, 10) for gap in "- "},
    "hundred": 100,
}

# Read in this order: sentences that reorder their numbers come before the plain operator words they contain.
_PHRASES: tuple[tuple[str, str], ...] = (
    (r"(?<=\d),(?=\d{3}(?!\d))", ""),
    (r"[$€£¥] ?(?=[\d.])", ""),
    (r"[×∙·✕]", "*"),
    (r"÷", "/"),
    (r"[−–—]", "-"),
    (r"√", " sqrt "),
    (r"\^", "**"),
    (r"²", "**2"),
    (r"³", "**3"),
    (rf"{_N} ?(?:thousand|k)\b", r"\g<1>e3"),
    (rf"{_N} ?million\b", r"\g<1>e6"),
    (rf"{_N} ?(?:billion|bn)\b", r"\g<1>e9"),
    (r"\bper ?cent(?:age)?\b", "%"),
    (r"(?<=\d) +%", "%"),
    (rf"\b(?:add|adding|plus) {_N}% (?:to|on) (?:top of )?{_N}", r"(\2*(1+\1/100))"),
    (rf"\b(?:take|subtract|knock|deduct) {_N}% (?:off|from)(?: of)? {_N}", r"(\2*(1-\1/100))"),
    (rf"{_N}% (?:off|discount on|less than)(?: of)? {_N}", r"(\2*(1-\1/100))"),
    (rf"{_N} (?:increased|raised|marked up|up) by {_N}%", r"(\1*(1+\2/100))"),
    (rf"{_N} (?:decreased|reduced|lowered|discounted|down) by {_N}%", r"(\1*(1-\2/100))"),
    (rf"\b(?:increase|raise) {_N} by {_N}%", r"(\1*(1+\2/100))"),
    (rf"\b(?:decrease|reduce|lower|discount) {_N} by {_N}%", r"(\1*(1-\2/100))"),
    (rf"{_N} (?:minus|less) {_N}%(?! of)", r"(\1*(1-\2/100))"),
    (rf"{_N} (?:plus|with) {_N}%(?! of)", r"(\1*(1+\2/100))"),
    (rf"{_N}% (?:tip |tax |vat )?(?:of|on|from|for)(?: a| an| the)?(?: bill of| total of)? (?=[(.\d])", r"\1/100*"),
    (rf"{_N}% (?=\d)", r"\1 mod "),
    (rf"(?:subtract|take away|take|deduct) {_N} (?:away )?from {_N}", r"(\2-\1)"),
    (rf"{_N} less than {_N}", r"(\2-\1)"),
    (rf"{_N} (?:more than|added to) {_N}", r"(\1+\2)"),
    (rf"{_N} subtracted from {_N}", r"(\2-\1)"),
    (rf"difference (?:between|of) {_N} and {_N}", r"(\1-\2)"),
    (rf"product of {_N} and {_N}", r"(\1*\2)"),
    (rf"quotient of {_N} and {_N}", r"(\1/\2)"),
    (rf"multiply(?:ing)? {_N} (?:by|with|and) (?=[(\d])", r"\1*"),
    (rf"divid(?:e|ing) {_N} (?:by|into) (?=[(\d])", r"\1/"),
    (rf"{_N} split (?:between|among|by|into) (?=\d)", r"\1/"),
    (rf"\badd(?:ing)? {_N} (?:and|to|with) {_N}", r"(\1+\2)"),
    (
        r"remainder (?:when|of|if)(?: (?:i|you|we) divide)? ?(\d+) (?:is )?(?:divided )?(?:by|over|/) (\d+)",
        r"(\1 mod \2)",
    ),
    (r"\b(?:a )?(?:half|halve)(?: of| the)* (?=[(\d])", "1/2*"),
    (r"\b(?:a |one )?third of (?=[(\d])", "1/3*"),
    (r"\b(?:two|2) thirds of (?=[(\d])", "2/3*"),
    (r"\b(?:a |one )?quarter of (?=[(\d])", "1/4*"),
    (r"\bthree quarters of (?=[(\d])", "3/4*"),
    (r"\b(?:double|twice) (?=[(\d])", "2*"),
    (r"\b(?:triple) (?=[(\d])", "3*"),
    (r"\bcub(?:e|ic) root(?: of)? ?(?=[-(.\d])", " cbrt "),
    (r"\b(?:square root|sq root|sqrt|root)(?: of)? ?(?=[-(.\d])", " sqrt "),
    (r"\b(?:raised )?to the (?:power(?: of)?|exponent) ", " ** "),
    (r"\bto the (\d+)(?:st|nd|rd|th)(?: power)?\b", r"**\1"),
    (r"\b(?:to the )?power (?:of )?(?=\d)", " ** "),
    (r"\bsquared\b", "**2"),
    (r"\bcubed\b", "**3"),
    (r"\b(?:multiplied by|times|multiply by)\b", "*"),
    (r"(?<=[\d)]) ?x ?(?=[(.\d])", "*"),
    (r"\b(?:divided by|div by|over)\b", "/"),
    (r"\bplus\b|\badded to\b", "+"),
    (r"\bminus\b|\btake away\b|\bsubtract\b|\bless\b", "-"),
    (r"\bmodulo\b|\bmodulus\b|(?<=\d) ?% ?(?=\d)", " mod "),
)
_SUM = re.compile(rf"\b(?:the )?sum of ((?:{_NUMBER})(?:(?:,? and |, ?| )(?:{_NUMBER}))+)")
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})(?![^\W\d])|(?P<word>\w+)|(?P<sign>\*\*|//|[-+*/()%])|(?P<other>\S)")
_SIGNS = {"mod": "%", "sqrt": "sqrt", "cbrt": "cbrt"}

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {"sqrt": math.sqrt, "cbrt": math.cbrt}


def calculate(
    expression: Annotated[str, Field(description="an arithmetic expression in figures or words, such as 12% of 80")],
) -> float:
    """Work out arithmetic: plus, minus, times, divided by, powers, square roots, percentages, discounts and tips."""
    return _tidy(_value(_parse(_find_expression(expression))))


def _find_expression(text: str) -> str:
    """The one arithmetic expression in a text, in Python's notation."""
    if re.search(r"\w\(|\)\s*\.\s*\w|_", re.sub(r"\b(?:sqrt|cbrt|root)\(", "root (", text.lower())):
        raise ValueError(f"Only numbers, + - * / % ** ( ) and square roots are understood; got {text:.80}.")
    spans = _spans(_normalise(text))
    if len(spans) != 1:
        found = f"{len(spans)} ({'; '.join(spans[:4])})" if spans else "none"
        raise ValueError(f"Expected one arithmetic expression, such as '12% of 80'; found {found} in: {text:.80}.")
    return spans[0]


def _normalise(text: str) -> str:
    text = " ".join(text.lower().split())
    words = sorted(_WORD_NUMBERS, key=len, reverse=True)
    fractions = r"(?! (?:third|quarter)s?\b)"  # "two thirds of 90" is read as a phrase
    text = re.sub(rf"\b(?:a )?({'|'.join(words)})\b{fractions}", lambda word: f"{_WORD_NUMBERS[word[1]]}", text)
    text = re.sub(r"\b([1-9]) 100\b", r"\g<1>00", text)
    for pattern, replacement in _PHRASES:
        text = re.sub(pattern, replacement, text)
    return _SUM.sub(lambda found: "(" + "+".join(re.findall(_NUMBER, found[1])) + ")", text)


def _spans(text: str) -> list[str]:
    """Runs of numbers and operators that hold at least one operation; a lone number counts against a second reading."""
    runs: list[list[str]] = [[]]
    for token in _TOKEN.finditer(text):
        sign = _SIGNS.get(token[0], "") if token.lastgroup == "word" else token[0]
        if sign and token.lastgroup != "other":
            runs[-1].append(sign)
        elif runs[-1]:
            runs.append([])
    kept = [_trim(run) for run in runs]
    return [" ".join(run) for run in kept if any(re.fullmatch(_NUMBER, token) for token in run)]


def _trim(run: list[str]) -> list[str]:
    """Drop what can neither start nor end an expression: the dash of a list, brackets around words."""
    run = list(run)
    while run and not (re.fullmatch(_NUMBER, run[0]) or run[0] in {"(", "-", "sqrt", "cbrt"}):
        run.pop(0)
    while len(run) > 1 and run[-2:] == ["(", ")"]:
        del run[-2:]
    return run


def _parse(expression: str) -> ast.expr:
    if len(expression) > _MAX_EXPRESSION:
        raise ValueError(f"The expression has {len(expression)} characters; at most {_MAX_EXPRESSION} are understood.")
    callable_form = re.sub(rf"\b(sqrt|cbrt) ((?:- )?(?:{_NUMBER}))", r"\1(\2)", expression)
    try:
        tree = ast.parse(callable_form, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"Not an arithmetic expression: {expression:.80}.") from error
    if not any(isinstance(node, ast.BinOp | ast.Call) for node in ast.walk(tree)):
        raise ValueError(f"Expected an operation such as 3 + 4; got the number {expression:.80} alone.")
    return tree


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _apply(_OPERATORS[type(op)], _value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _apply(_FUNCTIONS[name], _value(argument))
    raise ValueError(f"Only numbers, + - * / % ** ( ) and square roots are understood; got {ast.unparse(node):.80}.")


def _apply(function: Callable[..., float], *operands: float) -> float:
    try:
        return function(*operands)
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"No result for {', '.join(map(str, operands))}: {error}.") from error


def _power(base: float, exponent: float) -> float:
    """Refuses what would take minutes and gigabytes, such as 2**10**10, before it is computed."""
    bits = base.bit_length() if isinstance(base, int) and isinstance(exponent, int) else 1
    if bits * abs(exponent) > _MAX_BITS:
        raise ValueError(
            f"The power with exponent {exponent!s:.20} is too large; the result may have {_MAX_BITS} bits."
        )
    result = _apply(operator.pow, base, exponent)
    if isinstance(result, complex):
        raise ValueError(f"No real result for {base} ** {exponent}.")
    return result


def _tidy(value: float) -> float:
    """Twelve significant digits, and whole numbers as integers: 0.1 + 0.2 is 0.3, 8 / 2 is 4."""
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        raise ValueError(f"The result {value} is no finite number.")
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
