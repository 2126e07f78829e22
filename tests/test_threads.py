"""The bound on torch's threads: it holds inside, and what stood before stands again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dspy_router.routing.threads import bounded_threads


@pytest.fixture(autouse=True)
def _three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_it_bounds_inside_and_restores():
    with bounded_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_none_leaves_torch_alone():
    with bounded_threads(None):
        assert torch.get_num_threads() == 3


def test_it_restores_after_an_error():
    with pytest.raises(KeyError), bounded_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 3


def test_blocks_within_blocks():
    with bounded_threads(1), bounded_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_overlapping_threads_leave_no_bound_behind():
    """The second comes in while the first is inside and leaves after it: it must not take the bound for the setting."""
    first_inside, second_inside, first_out = (threading.Event() for _ in range(3))

    def first():
        with bounded_threads(1):
            first_inside.set()
            assert second_inside.wait(10)
        first_out.set()
        return torch.get_num_threads()

    def second():
        assert first_inside.wait(10)
        with bounded_threads(1):
            second_inside.set()
            assert first_out.wait(10)
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(first), pool.submit(second)]] == [3, 3]
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3
