"""A batch shared out among threads gives what one thread gives."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from exporting import exported, trained

from dspy_router.runtime.sharing import check_threads, in_threads

MANY = [f"text {number}" for number in range(200)]


def numbers(texts) -> np.ndarray:
    return np.array([[float(text.split()[1])] for text in texts], dtype=np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("count", [1, 33, 200])
def test_rows_come_in_the_order_of_the_texts(threads, count):
    np.testing.assert_array_equal(in_threads(numbers, MANY[:count], threads)[:, 0], np.arange(count))


def test_shares_are_done_side_by_side():
    meeting = threading.Barrier(2, timeout=10)  # which is broken if one waits for the other to end

    def work(texts):
        meeting.wait()
        return numbers(texts)

    assert len(in_threads(work, MANY, 2)) == 200


def test_a_few_texts_start_no_thread():
    seen = []
    in_threads(lambda texts: seen.append(threading.current_thread()) or numbers(texts), MANY[:20], 4)
    assert seen == [threading.current_thread()]


def test_what_fails_in_a_thread_fails():
    with pytest.raises(IndexError):
        in_threads(numbers, [*MANY, "x"], 2)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2", None])
def test_what_is_no_number_of_threads_is_refused(wrong):
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1"):
        check_threads(wrong)


def test_an_exported_router_decides_alike_with_any_number_of_threads(tmp_path):
    one = exported(trained(), tmp_path / "router", quantize="int8")
    two = type(one).load(tmp_path / "router", threads=2)
    texts = [f"what hour is it {word}" for word in MANY]
    np.testing.assert_allclose(two.probabilities(texts), one.probabilities(texts), atol=1e-6)
    assert pickle.loads(pickle.dumps(two))._threads == 2
