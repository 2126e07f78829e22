"""Full-text search (SQLite FTS5) over the tea shop's help pages, indexed in memory on first use."""

import functools
import re
import sqlite3
import threading
from importlib import resources
from typing import Annotated

from pydantic import Field

_LOCK = threading.Lock()  # one connection for all threads
_BEST_PAGE = "SELECT title, body FROM pages WHERE pages MATCH ? ORDER BY bm25(pages, 4.0, 1.0), rowid LIMIT 1"
_MAX_TERMS = 60  # a question has fewer; a pasted page must not become a query of thousands of terms

# Words of asking, not of the subject: they would match every page.
_STOP_WORDS = """
    a about all also am an and any anyone are as at be been bit but by can cant could d did do does doesn doing don
    done dont ever find for from get gets give go going got had has have having hello help here hey hi hiya how i id
    if ill im in info information into is isn it its ive just kind know let like ll long look looking m make many may
    maybe me mean might more most much my need no not now of ok okay on once one only or our out page pages please pls
    possible question quick re read really s same say says search see shall she should show so some somebody someone
    something sort still t tell text thank thanks that the their them then there these they thing things think this
    those to too u up us use using ve very want wanted was way we well were what whats when where which who why will
    with won would wondering yes you your
"""
_IGNORED = frozenset(_STOP_WORDS.split())


def search_help(
    query: Annotated[str, Field(description="the question, or words to look for")],
) -> dict[str, str]:
    """Search the tea shop's help pages on shipping, returns, payment, gift cards, brewing, storing and teaware care."""
    terms = [word for word in re.findall(r"[^\W_]+", query.lower()) if word not in _IGNORED and len(word) > 1]
    if not terms:
        raise ValueError(f"Expected a question or words to look for; got {query!r:.80}.")
    match = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms[:_MAX_TERMS]))
    with _LOCK:
        row = _index().execute(_BEST_PAGE, (match,)).fetchone()
    return {"title": row[0], "text": row[1]} if row else {"title": "", "text": "No help page mentions this."}


@functools.cache
def _index() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE VIRTUAL TABLE pages USING fts5(title, body, tokenize='porter unicode61')")
    text = resources.files("dspy_router.demo").joinpath("pages.md").read_text(encoding="utf-8")
    sections = (section.partition("\n") for section in re.split(r"^# ", text, flags=re.MULTILINE)[1:])
    connection.executemany(
        "INSERT INTO pages VALUES (?, ?)", [(title.strip(), body.strip()) for title, _, body in sections]
    )
    return connection
