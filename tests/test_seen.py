"""Which texts were seen: by digest, whatever their case and spaces."""

from __future__ import annotations

import torch

from dspy_router.routing.trust.seen import SeenTexts


def test_what_was_seen_is_found_again():
    seen = SeenTexts.of(["What time is it?", "東京 now"])
    assert seen.among(["  what TIME\nis it? ", "what time is it", "東京 now"]) == [0, 2]
    assert len(seen) == 2


def test_both_of_two_sets():
    both = SeenTexts.of(["a", "b"]) | SeenTexts.of(["b", "c"])
    assert both.among(["a", "b", "c", "d"]) == [0, 1, 2]
    assert len(both) == 3


def test_it_survives_a_tensor():
    seen = SeenTexts.of([f"text {number}" for number in range(100)] + ["half a pair \ud800"])
    tensor = seen.to_tensor()
    assert tensor.dtype == torch.int64
    assert tensor.tolist() == sorted(tensor.tolist())
    assert SeenTexts.from_tensor(tensor).among(["text 7", "half a pair \ud800", "text 100"]) == [0, 1]
    assert SeenTexts.from_tensor(SeenTexts().to_tensor()).among(["x"]) == []
