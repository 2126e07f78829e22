"""What else could choose a tool with the same weights and queries: five ways, each as its own library has it."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

# Nothing heavy is imported up here: a fresh process that loads one peer must not pay for the others.
Encode = Callable[[Sequence[str]], NDArray[np.float32]]

NEIGHBOURS = 5  # of 1, 3, 5, 10 and 20 the best, or next to it, on 1,500 training queries held out of the index
_KNOWN, _LABELS = "known.npz", "labels.json"
_NO_WORD = "\0"  # stands for a text without words; the empty string would be a word that the library cannot look up


class Known(NamedTuple):
    """Queries whose tools are known: texts [n], labels [n], float32 vectors [n, dim]."""

    texts: list[str]
    labels: list[str]
    vectors: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write them into a folder."""
        np.savez(folder / _KNOWN, texts=np.array(self.texts), labels=np.array(self.labels), vectors=self.vectors)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them again."""
        with np.load(folder / _KNOWN) as file:
            return cls(file["texts"].tolist(), file["labels"].tolist(), file["vectors"])

    def look_up(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of these texts without encoding them anew, [len(texts), dim]."""
        row = {text: number for number, text in enumerate(self.texts)}
        return self.vectors[[row[text] for text in texts]]


class Peer(Protocol):
    """Something that names a tool for a text."""

    def decide(self, text: str) -> str:
        """The tool for one text."""
        ...

    def right(self, texts: Sequence[str], labels: Sequence[str]) -> int:
        """How many of these it gets right, all at once where the library can do that."""
        ...

    def save(self, folder: Path) -> None:
        """Write what a fresh process needs, the encoder aside."""
        ...


def sentence_encode(model: Any) -> Encode:
    """The library's own `encode` of a SentenceTransformer, unit vectors out."""
    return lambda texts: model.encode(list(texts), show_progress_bar=False, normalize_embeddings=True)


class EncodeAndClassify:
    """`encode` and a linear model of scikit-learn on the vector."""

    def __init__(self, encode: Encode, model: Any) -> None:
        self.encode, self.model = encode, model

    def encoding_by(self, encode: Encode) -> Self:
        """The same with another way to its vectors."""
        return type(self)(encode, self.model)

    def decide(self, text: str) -> str:
        return str(self.model.predict(self.encode([text]))[0])

    def right(self, texts: Sequence[str], labels: Sequence[str]) -> int:
        return _hits(self.model.predict(self.encode(texts)), labels)

    def save(self, folder: Path) -> None:
        _dump(self.model, folder)

    @classmethod
    def load(cls, folder: Path, encode: Encode) -> Self:
        return cls(encode, _undump(folder))


class WordsAndClassify:
    """A pipeline of scikit-learn: features of the text's words, and a linear model on them."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def decide(self, text: str) -> str:
        return str(self.pipeline.predict([text])[0])

    def right(self, texts: Sequence[str], labels: Sequence[str]) -> int:
        return _hits(self.pipeline.predict(list(texts)), labels)

    def save(self, folder: Path) -> None:
        _dump(self.pipeline, folder)

    @classmethod
    def load(cls, folder: Path, encode: Encode) -> Self:
        return cls(_undump(folder))


class Bm25Votes:
    """`bm25s` over the known queries: the tool that most of the five nearest have.

    That is the stronger of its two uses here: on held-out training queries of clinc150 nine in ten were right, with the
    tools' cards as documents fewer than half. Function words stay in; without them it is a point less.
    """

    def __init__(self, index: Any, labels: Sequence[str]) -> None:
        self.index, self.labels = index, list(labels)

    @classmethod
    def fit(cls, texts: Sequence[str], labels: Sequence[str]) -> Self:
        """Index the known queries."""
        import bm25s

        index = bm25s.BM25()
        index.index(_tokens(texts), show_progress=False)
        return cls(index, labels)

    def decide(self, text: str) -> str:
        return self._choose([text])[0]

    def right(self, texts: Sequence[str], labels: Sequence[str]) -> int:
        return _hits(self._choose(texts), labels)

    def _choose(self, texts: Sequence[str]) -> list[str]:
        words = [row or [_NO_WORD] for row in _tokens(texts)]
        count = min(NEIGHBOURS, len(self.labels))
        rows = self.index.retrieve(words, k=count, show_progress=False, return_as="documents")
        return [vote([self.labels[int(number)] for number in row]) for row in np.asarray(rows)]

    def save(self, folder: Path) -> None:
        self.index.save(str(folder), show_progress=False)
        (folder / _LABELS).write_text(json.dumps(self.labels), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, encode: Encode) -> Self:
        import bm25s

        return cls(bm25s.BM25.load(str(folder)), json.loads((folder / _LABELS).read_text(encoding="utf-8")))


class DspyKnn:
    """`dspy.KNN` with a `dspy.Embedder`: the tool that most of the five nearest known queries have.

    It encodes `query: <text>`, so the known vectors are those of such texts. The embedder's own cache is off: the
    benchmark shows the same text more than once, and finding it in a cache is no decision. There is no batch.
    """

    def __init__(self, encode: Encode, known: Known) -> None:
        import dspy

        rows = zip(known.texts, known.labels, strict=True)
        examples = [dspy.Example(query=text, tool=label).with_inputs("query") for text, label in rows]
        stored = known._replace(texts=[as_dspy_reads(text) for text in known.texts])
        self.known = known
        self.knn = dspy.KNN(NEIGHBOURS, examples, dspy.Embedder(stored.look_up, caching=False))
        self.knn.embedding = dspy.Embedder(encode, caching=False)

    def encoding_by(self, encode: Encode) -> Self:
        """The same with another way to its vectors."""
        import dspy

        other = copy.copy(self)
        other.knn = copy.copy(self.knn)
        other.knn.embedding = dspy.Embedder(encode, caching=False)
        return other

    def decide(self, text: str) -> str:
        return vote([example.tool for example in self.knn(query=text)])

    def right(self, texts: Sequence[str], labels: Sequence[str]) -> int:
        return _hits([self.decide(text) for text in texts], labels)

    def save(self, folder: Path) -> None:
        self.known.save(folder)

    @classmethod
    def load(cls, folder: Path, encode: Encode) -> Self:
        return cls(encode, Known.load(folder))


class SemanticRouter:
    """semantic-router's `IndexedRouter` as it comes, with its `LocalIndex`: the known queries are routes' utterances.

    It takes the mean similarity of each route's queries among the five nearest. The utterances' vectors are given to
    it, which saves it the minute of encoding that its constructor would take.
    """

    def __init__(self, encode: Encode, known: Known) -> None:
        """Build the index.

        Raises:
            ImportError: If semantic-router is not installed, or older than 1.1.
        """
        try:
            from semantic_router import IndexedRouter, Route  # pyright: ignore[reportMissingImports]
            from semantic_router.encoders import DenseEncoder  # pyright: ignore[reportMissingImports]
            from semantic_router.index import LocalIndex  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "semantic-router 1.1 or newer is measured as a peer and cannot be imported; "
                "install it with: pip install semantic-router"
            ) from error

        class Minilm(DenseEncoder):
            """Any callable as an encoder of the library."""

            encode: Any

            def __call__(self, docs: list[Any]) -> list[list[float]]:
                return self.encode(docs).tolist()

        by_route: dict[str, list[str]] = {}
        for text, label in zip(known.texts, known.labels, strict=True):
            by_route.setdefault(label, []).append(text)
        routes = [Route(name=name, utterances=texts) for name, texts in by_route.items()]
        self.known = known
        self.router = IndexedRouter(Minilm(name="known", encode=known.look_up), routes, index=LocalIndex())
        self.router.encoder = Minilm(name="minilm", encode=encode)

    def encoding_by(self, encode: Encode) -> Self:
        """The same with another way to its vectors."""
        other = copy.copy(self)
        other.router = copy.copy(self.router)
        other.router.encoder = self.router.encoder.model_copy(update={"encode": encode})
        return other

    def decide(self, text: str) -> str:
        choice: Any = self.router(text)
        return choice.name or ""

    def right(self, texts: Sequence[str], labels: Sequence[str]) -> int:
        return round(self.router.evaluate(list(texts), list(labels)) * len(texts))

    def save(self, folder: Path) -> None:
        self.known.save(folder)

    @classmethod
    def load(cls, folder: Path, encode: Encode) -> Self:
        return cls(encode, Known.load(folder))


PEERS: dict[str, Any] = {
    one.__name__: one for one in (EncodeAndClassify, WordsAndClassify, Bm25Votes, DspyKnn, SemanticRouter)
}


def as_dspy_reads(query: str) -> str:
    """A query as `dspy.KNN` hands it to its embedder."""
    return f"query: {query}"


def vote(labels: Sequence[str]) -> str:
    """The most frequent one; of several the one that comes first, which is the nearest."""
    return Counter(labels).most_common(1)[0][0]


def _hits(predicted: Sequence[Any] | NDArray[Any], labels: Sequence[str]) -> int:
    return sum(str(one) == label for one, label in zip(predicted, labels, strict=True))


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    import bm25s

    tokens: Any = bm25s.tokenize(list(texts), stopwords=[], return_ids=False, show_progress=False)
    return tokens


def _dump(model: Any, folder: Path) -> None:
    import joblib

    joblib.dump(model, folder / "model.joblib")


def _undump(folder: Path) -> Any:
    import joblib

    return joblib.load(folder / "model.joblib")
