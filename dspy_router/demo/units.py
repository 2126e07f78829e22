"""Units of measure, converted by pint."""

import functools
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

# As people write them, in the singular; what is also a word or an ending (in, m, s) is left out.
Unit = Literal[
    "millimeter", "millimetre", "mm", "centimeter", "centimetre", "cm", "meter", "metre", "kilometer", "kilometre",
    "km", "inch", "inches", "foot", "feet", "ft", "yard", "yd", "mile", "nautical mile", "light year",
    "milligram", "mg", "gram", "g", "kilogram", "kilo", "kg", "metric ton", "tonne", "ounce", "oz", "pound", "lb",
    "stone", "milliliter", "millilitre", "ml", "liter", "litre", "l", "gallon", "quart", "pint", "cup", "fluid ounce",
    "fl oz", "tablespoon", "tbsp", "teaspoon", "tsp",
    "celsius", "centigrade", "fahrenheit", "kelvin", "°C", "°F", "C", "F",
    "km/h", "kmh", "kph", "mph", "miles per hour", "kilometers per hour", "knot", "m/s",
    "second", "minute", "hour", "day", "week",
    "hectare", "acre", "square meter", "square metre", "square foot", "square feet", "square kilometer", "square mile",
    "joule", "kilojoule", "kj", "calorie", "kilocalorie", "kcal", "kwh", "watt", "kilowatt", "kw", "horsepower", "hp",
    "psi", "bar", "kilobyte", "kb", "megabyte", "mb", "gigabyte", "gb", "terabyte", "tb",
]  # fmt: skip

# What pint would not understand, or would understand as something else ("kb" is a kilobit there); a calorie is a food
# label's kilocalorie, because that is what people mean by it.
_PINT_NAMES = {
    "kilo": "kilogram", "celsius": "degC", "centigrade": "degC", "°c": "degC", "c": "degC", "fahrenheit": "degF",
    "°f": "degF", "f": "degF", "degrees celsius": "degC", "degrees fahrenheit": "degF", "degrees c": "degC",
    "degrees f": "degF", "kmh": "km/hour", "km/h": "km/hour", "kph": "km/hour", "mph": "mile/hour",
    "miles per hour": "mile/hour", "kilometers per hour": "km/hour", "calorie": "kilocalorie",
    "kj": "kilojoule", "kwh": "kilowatt_hour", "kw": "kilowatt", "hp": "horsepower", "kb": "kilobyte",
    "mb": "megabyte", "gb": "gigabyte", "tb": "terabyte", "fl oz": "fluid_ounce", "m": "meter", "g": "gram",
    "l": "liter", "metric ton": "metric_ton", "tonne": "metric_ton", "lb": "pound", "oz": "ounce", "feet": "foot",
    "inches": "inch", "mg": "milligram", "ml": "milliliter",
}  # fmt: skip
# "how many feet in a mile", "half a cup", "two pounds"
_WORDS = {
    "half a": 0.5, "half an": 0.5, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "twenty": 20, "a hundred": 100,
}  # fmt: skip
_AMOUNT = rf"-?\d[\d,]*(?:\.\d+)?|{'|'.join(sorted(_WORDS, key=len, reverse=True))}"
_QUANTITY_PARTS = re.compile(rf"({_AMOUNT})[ -]?([^\d\s].*)", re.IGNORECASE)


def _quantity_pattern() -> str:
    """An amount and its unit: 12 miles, -40°F, 1,500g, half a cup."""
    extra = ("degrees celsius", "degrees fahrenheit", "degrees c", "degrees f", "m")
    names = sorted((*get_args(Unit), *extra), key=len, reverse=True)
    # A plural stands before its singular: the first alternative that fits wins.
    units = "|".join(f"{re.escape(name)}s?".replace("\\ ", " ") for name in names)
    return rf"^(?i:(?:{_AMOUNT})[ -]?(?:{units}))$"


Quantity = Annotated[
    str, Field(pattern=_quantity_pattern(), description="the amount with its unit, such as 12 miles or 350 °F")
]


def convert_units(
    quantity: Quantity, to_unit: Annotated[Unit, Field(description="the unit wanted")]
) -> dict[str, float | str]:
    """Convert a measurement to another unit: length, weight, volume, temperature, speed, area, energy, time, bytes."""
    parts = _QUANTITY_PARTS.fullmatch(quantity.strip())
    if parts is None:
        raise ValueError(f"Expected an amount with its unit, such as '12 miles'; got {quantity!r:.80}.")
    amount = _WORDS.get(parts[1].lower()) or float(parts[1].replace(",", ""))
    registry, undefined = _registry()
    source, target = _pint_name(parts[2]), _pint_name(to_unit)
    try:
        value = registry.Quantity(amount, registry.parse_units(source))
        converted = value.to(registry.parse_units(target)).magnitude
    except undefined as error:
        raise ValueError(f"Cannot convert {quantity!r} to {to_unit!r}: {error}.") from error
    rounded = float(f"{converted:.6g}")
    return {"value": int(rounded) if rounded.is_integer() else rounded, "unit": to_unit}


def _pint_name(unit: str) -> str:
    """The unit in pint's spelling; a plural is looked up by its singular."""
    name = unit.lower()
    for candidate in (name, name.removesuffix("s"), name.removesuffix("es")):
        if candidate in _PINT_NAMES:
            return _PINT_NAMES[candidate]
    if name.startswith("square "):
        return f"{_pint_name(name.removeprefix('square '))} ** 2"
    return name.replace(" ", "_")


@functools.cache
def _registry() -> tuple[Any, tuple[type[Exception], ...]]:
    """The registry of pint, built on first use (0.3 s), and what it raises on what it cannot convert."""
    try:
        import pint
    except ImportError as error:
        raise ImportError('Units need the package pint: pip install "dspy-router[demo]"') from error
    registry = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    return registry, (pint.PintError, AttributeError)
