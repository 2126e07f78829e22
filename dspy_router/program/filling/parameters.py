"""Reads the parameters of a tool card: what kind of literal each one takes, and which words point at it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from dspy_router.program.filling.mentions import FINDERS, Mention, shaped
from dspy_router.program.filling.numerals import numbers
from dspy_router.program.remembering import once_each
from dspy_router.program.schema_checks import is_valid
from dspy_router.records import ToolCard, split_name

# Members of an enumeration only right after a number or a cue: the unit of "5 in" against "5 feet in cm".
_EVERYDAY = "a an and as at be by do for go he i if in is it me my no of on or so the to up us we"
_EVERYDAY_WORDS = frozenset(_EVERYDAY.split())
_PERCENT_WORDS = frozenset({"percent", "percentage", "pct"})
# "width of 3", "base: 10", "to the kilometer".
_CUE_LINK = r"(?:\s*[:=]\s*|\s+(?:is|of|the|a|an)\s+|\s+|-)"


@dataclass(frozen=True)
class Parameter:
    """One parameter as the rules see it.

    Attributes:
        name: Its name.
        schema: Its JSON schema without null and without references.
        required: Whether a call must give it.
        kind: The kind of literal that it takes, a key of `FINDERS`, `number`, `enum` or `pattern`; None where rules
            cannot read it (an object, a union, a format that is not known).
        many: Whether it takes a list of them.
        cues: Words of its name that no other parameter of the tool shares.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool
    kind: str | None
    many: bool = False
    cues: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def items(self) -> Mapping[str, Any]:
        """The schema of one value: that of the items for a list."""
        return {"$defs": self.schema.get("$defs", {}), **self.schema["items"]} if self.many else self.schema

    def accepts(self, mention: Mention) -> bool:
        """Whether a mention of this parameter's kind is a valid value for it."""
        if mention.percent and not _PERCENT_WORDS & set(split_name(self.name).split()):
            return False  # 12 or 0.12? Only the parameter's name can say.
        if mention.grouped and self.many:
            return False  # "1,234" among a list of numbers: one of them, or two?
        return is_valid(self.items, mention.value)

    def is_cued(self, mention: Mention, text: str) -> bool:
        """Whether a word of this parameter's name stands directly before the mention."""
        before = text[max(0, mention.start - 60) : mention.start].rstrip("$€£¥#")
        return any(pattern.search(before) for pattern in self._cue_patterns)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The members of an enumeration as text; none of what is no enumeration."""
        return tuple(str(member) for member in self.items.get("enum") or () if member is not None)

    @cached_property
    def _cue_patterns(self) -> tuple[re.Pattern[str], ...]:
        links = {cue: r"\s*[:=]\s*" if len(cue) == 1 else _CUE_LINK for cue in self.cues}
        # "12 percent of 30": a word with a number before it is that number's unit, not a pointer to the next one.
        before = r"(?<![\w%])(?<!\d )(?<!\d-)"
        return tuple(re.compile(f"{before}{re.escape(cue)}{link}$", re.IGNORECASE) for cue, link in links.items())


@once_each
def read_parameters(card: ToolCard) -> tuple[Parameter, ...]:
    """The parameters of a card, in its order."""
    definitions = card.parameters.get("$defs") or {}
    words = {name: set(split_name(name).split()) for name in card.properties}
    shared = Counter(word for one in words.values() for word in one)
    result = []
    for name, declared in card.properties.items():
        schema = _resolve(declared, definitions)
        many = schema.get("type") == "array" and isinstance(schema.get("items"), Mapping)
        if many:
            schema = {**schema, "items": _resolve(schema["items"], definitions)}
        kind = _kind(schema["items"] if many else schema)
        if definitions:
            schema = {**schema, "$defs": definitions}  # deeper references stay
        cues = frozenset(word for word in words[name] if shared[word] == 1)
        result.append(Parameter(name, schema, name in card.required, kind, many, cues))
    return tuple(result)


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow references, and take null out of a union: leaving an optional parameter out says the same."""
    schema = dict(schema)
    if reference := schema.pop("$ref", None):
        return _resolve({**definitions.get(str(reference).rsplit("/", 1)[-1], {}), **schema}, definitions)
    for union in ("anyOf", "oneOf", "allOf"):
        options = [option for option in schema.get(union) or () if option.get("type") != "null"]
        if len(options) == 1:
            del schema[union]
            return _resolve({**schema, **options[0]}, definitions)
    if isinstance(schema.get("type"), list):
        types = [name for name in schema["type"] if name != "null"]
        schema["type"] = types[0] if len(types) == 1 else types
    if "const" in schema:
        schema["enum"] = [schema["const"]]
    return schema


def _kind(schema: Mapping[str, Any]) -> str | None:
    members = [member for member in schema.get("enum") or () if member is not None]
    if members:
        if all(isinstance(member, str) for member in members):
            return "enum"
        numeric = all(isinstance(member, int | float) and not isinstance(member, bool) for member in members)
        return "number" if numeric else None
    declared = schema.get("type")
    if declared in ("number", "integer"):
        return "number"
    if declared == "boolean":
        return "boolean"
    if declared != "string":
        return None
    if "pattern" in schema:
        return "pattern"
    kind = schema.get("format", "text")
    return kind if kind in FINDERS else None


def find_mentions(parameter: Parameter, text: str, units: frozenset[str]) -> list[Mention]:
    """Every literal in the text of the kind that the parameter takes, whether it is valid there or not."""
    if parameter.kind == "number":
        return numbers(text, units)
    if parameter.kind == "enum":
        return _find_members(parameter.members, text)
    if parameter.kind == "pattern":
        body = str(parameter.items["pattern"]).removeprefix("^").removesuffix("$")
        try:
            return shaped(re.compile(rf"(?<!\w)(?:{body})(?!\w)"), text)
        except re.error:  # JSON schema speaks another dialect of regular expressions
            return []
    return FINDERS[parameter.kind](text) if parameter.kind else []


def _find_members(members: tuple[str, ...], text: str) -> list[Mention]:
    pattern, values = _member_pattern(members)
    found = []
    for match in pattern.finditer(text):
        spelled = _spelling(match[0])
        meant = values.get(spelled) or values.get(spelled.casefold()) or frozenset()
        value = next(iter(meant)) if len(meant) == 1 else None
        after_number = re.search(r"\d\s?$", text[max(0, match.start() - 2) : match.start()]) is not None
        weak = spelled.casefold() in _EVERYDAY_WORDS and not after_number
        found.append(Mention(match.start(), match.end(), value, readable=value is not None, weak=weak))
    return found


@lru_cache(maxsize=512)
def _member_pattern(members: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, frozenset[str]]]:
    """A pattern that finds the members as whole words, longest first, and what each spelling may mean."""
    exact: dict[str, set[str]] = {}
    folded: dict[str, set[str]] = {}
    plural: dict[str, set[str]] = {}
    for member in members:
        exact.setdefault(_spelling(member), set()).add(member)
        folded.setdefault(_spelling(member).casefold(), set()).add(member)
        for form in _plurals(_spelling(member).casefold()):
            plural.setdefault(form, set()).add(member)
    # A member that differs from another only by case (k, K) is told from it by its case.
    values = {**plural, **folded, **{spelling: meant for spelling, meant in exact.items() if len(meant) == 1}}
    spellings = sorted((spelling for spelling in values if spelling), key=len, reverse=True)
    words = "|".join(re.escape(spelling).replace(r"\ ", r"[\s_-]+") for spelling in spellings) or "(?!)"
    # Digits may stand before (20km); a fraction bar or power makes another unit of it (km/h, m^2).
    pattern = re.compile(rf"(?<![^\W\d])(?<![/^])(?:{words})(?![\w/^²³])", re.IGNORECASE)
    return pattern, {spelling: frozenset(meant) for spelling, meant in values.items()}


def _spelling(member: str) -> str:
    return re.sub(r"[\s_-]+", " ", member).strip()


def _plurals(word: str) -> Iterable[str]:
    if len(word) < 3 or not word[-1].isalpha():
        return
    yield from (f"{word}s", f"{word}es")
    if word.endswith("s"):
        yield word[:-1]
    if word.endswith("y"):
        yield f"{word[:-1]}ies"
