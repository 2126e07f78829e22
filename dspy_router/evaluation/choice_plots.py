"""Pictures of a router's choices: what is taken for what, where tools and queries lie, and which words moved one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dspy_router.evaluation.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE = "(none)"
_FOR, _AGAINST, _GREY = "#4477aa", "#ee6677", "#bbbbbb"
_ROW, _MOST_WORDS = 0.3, 20
_NEIGHBOURS = 20  # about how many queries a point of the map is kept close to
# Twelve colours that differ in lightness as well, and four markers: 48 tools that can be told apart.
_COLOURS = (
    "#332288", "#88ccee", "#117733", "#ddcc77", "#cc6677", "#aa4499",
    "#44aa99", "#999933", "#882255", "#661100", "#6699cc", "#aa4466",
)  # fmt: skip
_MARKERS = ("o", "s", "^", "D")


def confusion_matrix(
    choices: Sequence[str | None], labels: Sequence[str | None], *, tools: Sequence[str] | None = None
) -> Figure:
    """How often which tool was chosen where which was right; on the diagonal the choice was right.

    Args:
        choices: What was chosen, None for *none*, [n].
        labels: What was right, [n].
        tools: Which tools to show and in which order, those that occur among them; None shows all that occur.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no choice, or there are not as many labels.
    """
    if not choices or len(choices) != len(labels):
        raise ValueError(
            "Expected one label for each choice and at least one of them; "
            f"got {len(choices)} choices and {len(labels)} labels."
        )
    seen = {*choices, *labels}
    order = [*dict.fromkeys(tools or sorted(name for name in seen if name is not None))]
    names: list[str | None] = [name for name in order if name in seen]
    if None in seen:
        names.append(None)
    row = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for choice, label in zip(choices, labels, strict=True):
        if choice in row and label in row:
            counts[row[label], row[choice]] += 1
    figure, axes = new_figure(height=1.8 + _ROW * len(names))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for right, chosen in np.argwhere(counts):
        colour = "white" if shares[right, chosen] > 0.5 else "black"
        axes.text(chosen, right, str(counts[right, chosen]), ha="center", va="center", fontsize=8, color=colour)
    shown = [NONE if name is None else name for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), shown, fontsize=8)
    axes.set_xlabel("chosen")
    axes.set_ylabel("right")
    axes.set_title(f"{int(np.trace(counts))} of {int(counts.sum())} on the diagonal", fontsize=9)
    return figure


def embedding_map(
    queries: Any, labels: Sequence[str | None], tools: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Figure:
    """Queries as points and tools as crosses with a name, laid out so that what is alike lies close.

    The layout is t-SNE of the cosines (van der Maaten & Hinton 2008). It shows who is next to whom; distances between
    groups, their sizes and the axes mean nothing.

    Args:
        queries: One vector a query, float [n, d].
        labels: The right tool of each query, None for *none*, [n].
        tools: Vectors of tools by name, float [d] each.
        seed: Of the layout.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are fewer than three queries, or not as many labels.
    """
    vectors = np.asarray(queries, dtype=np.float64)
    named = dict(tools or {})
    if len(vectors) < 3 or len(vectors) != len(labels):
        raise ValueError(
            "Expected vectors of at least three queries, and a label for each; "
            f"got {len(vectors)} vectors and {len(labels)} labels."
        )
    figure, axes = new_figure(height=6.0)
    from sklearn.manifold import TSNE

    both = np.vstack([vectors, *(np.asarray(vector, dtype=np.float64) for vector in named.values())])
    both = both / np.linalg.norm(both, axis=1, keepdims=True).clip(min=1e-12)  # then Euclidean order is cosine order
    perplexity = min(_NEIGHBOURS, (len(both) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(both)
    counts = Counter(labels)
    order = [*named, *sorted(name for name in counts if name is not None and name not in named)]
    for number, name in enumerate(order):
        own = places[: len(vectors)][[label == name for label in labels]]
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
        axes.scatter(own[:, 0], own[:, 1], s=12, color=colour, marker=marker, alpha=0.7, linewidths=0, label=name)
    if None in counts:
        own = places[: len(vectors)][[label is None for label in labels]]
        axes.scatter(own[:, 0], own[:, 1], s=8, color=_GREY, marker="x", linewidths=0.8, label=NONE)
    middle = (places[:, 0].min() + places[:, 0].max()) / 2
    for name, (x, y) in zip(named, places[len(vectors) :], strict=True):
        axes.plot([x], [y], marker="P", markersize=9, color="black", markeredgecolor="white")
        # Names stay within the map.
        beside = (
            {"xytext": (-5, 5), "ha": "right"} if x > middle else {"xytext": (5, 5), "ha": "left"}
        )  # never outwards
        axes.annotate(name, (x, y), textcoords="offset points", fontsize=8, weight="bold", **beside)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def word_influences(words: Sequence[tuple[str, float]], *, choice: str | None = None) -> Figure:
    """Which words spoke for a choice and which against it, in the order of the text.

    Args:
        words: Each word with its influence, as in `Explanation.words`: by how much the log-probability of the choice
            falls without it. Of a longer text the 20 that moved it most are drawn.
        choice: What was chosen, for the axis.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no word.
    """
    if not words:
        raise ValueError("There is nothing to draw: expected at least one word with its influence.")
    most = sorted(range(len(words)), key=lambda place: -abs(words[place][1]))[:_MOST_WORDS]
    shown = [words[place] for place in sorted(most)]
    figure, axes = new_figure(height=1.2 + _ROW * len(shown))
    places = range(len(shown), 0, -1)  # the first word at the top
    values = [influence for _, influence in shown]
    axes.barh(places, values, color=[_FOR if value >= 0 else _AGAINST for value in values], height=0.7)
    axes.axvline(0, color="#555555", linewidth=0.8)
    axes.set_yticks(places, [word for word, _ in shown])
    axes.set_xlabel(f"speaks against ← {NONE if choice is None else choice} → speaks for, in log-probability")
    return figure
