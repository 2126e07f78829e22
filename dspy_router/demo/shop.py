"""Questions to the books of a small tea shop, an SQLite database built in memory from `shop.sql` on first use."""

import functools
import re
import sqlite3
import threading
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field

Category = Literal[
    "black tea", "green tea", "white tea", "herbal tea", "oolong", "teapot", "kettle", "mug", "infuser", "gift set"
]
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAME = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
_MONTH_PARTS = rf"(?i:(?P<month>{_MONTH_NAME})\.?,? (?:of )?(?P<year>\d{{4}}))"

Month = Annotated[
    str,
    Field(
        pattern=f"^{_MONTH_PARTS.replace('?P<month>', '?:').replace('?P<year>', '?:')}$",
        description="such as March 2024",
    ),
]
_OPENING_HOURS = {
    "Monday": "closed",
    "Tuesday to Friday": "10:00-18:00",
    "Saturday": "9:30-17:30",
    "Sunday": "12:00-17:00",
    "public holidays": "closed",
}
# Shared by all threads: SQLite reads are quick, and a lock is simpler than a connection for each thread.
_LOCK = threading.Lock()


def find_products(
    category: Annotated[Category, Field(description="kind of product")],
    max_price: Annotated[float, Field(gt=0, description="the most it may cost, in euros")],
) -> list[dict[str, Any]]:
    """List the tea shop's products of a category that are in stock and cost at most a price, cheapest first."""
    rows = _query(
        "SELECT name, price FROM products WHERE category = ? AND price <= ? AND stock > 0 ORDER BY price, name",
        category,
        max_price,
    )
    return [{"name": name, "price": price} for name, price in rows]


def monthly_sales(
    month: Month, category: Annotated[Category | None, Field(description="only this kind of product")] = None
) -> dict[str, float]:
    """Report the tea shop's sales of a month: number of orders, items sold and revenue or turnover in euros."""
    parts = re.fullmatch(_MONTH_PARTS, month.strip())
    if parts is None:
        raise ValueError(f"Expected a month with its year, such as 'March 2024'; got {month!r:.40}.")
    first, last = _query("SELECT min(day), max(day) FROM orders")[0]
    prefix = f"{parts['year']}-{_MONTHS.index(parts['month'].lower()[:3]) + 1:02d}"
    if not first[:7] <= prefix <= last[:7]:
        raise ValueError(f"The books run from {first[:7]} to {last[:7]}; got {prefix}.")
    rows = _query(
        "SELECT count(*), coalesce(sum(quantity), 0), coalesce(sum(quantity * price), 0) "
        "FROM orders JOIN products ON products.id = product_id "
        "WHERE substr(day, 1, 7) = ? AND (? IS NULL OR category = ?)",
        prefix,
        category,
        category,
    )
    orders, items, revenue = rows[0]
    return {"orders": orders, "items": items, "revenue": round(revenue, 2)}


def opening_hours() -> dict[str, str]:
    """Tell when the tea shop is open: opening and closing times on weekdays, weekends and public holidays."""
    return dict(_OPENING_HOURS)


def _query(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with _LOCK:
        return _database().execute(sql, values).fetchall()


@functools.cache
def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(resources.files("dspy_router.demo").joinpath("shop.sql").read_text(encoding="utf-8"))
    connection.execute("PRAGMA query_only = ON")
    return connection
