"""The suite is offline by construction: no socket beyond loopback, no keys, fixed seeds, a bounded pool of threads."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
import sys
import tempfile
from typing import Any

import pytest
from hypothesis import settings

# Set before dspy, litellm, transformers or torch are imported by any test file; child processes inherit them.
_CACHE = tempfile.TemporaryDirectory(prefix="dspy-router-tests-", ignore_cleanup_errors=True)
os.environ["DSPY_CACHEDIR"] = _CACHE.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "2")
for _name in [name for name in os.environ if name.endswith(("_API_KEY", "_API_BASE")) or name == "HF_TOKEN"]:
    del os.environ[_name]

# The same examples on every run; no deadline, as a busy machine is no fault of the code.
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.load_profile("tests")

THREADS = 2
SEED = 0


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = str(address[0])
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in {"", "localhost"}


def _refuse_remote(method: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if not _is_local(address):
            raise OSError(f"The test suite is offline: a connection to {address!r} was refused.")
        return method(self, address)

    return guarded


@pytest.fixture(autouse=True, scope="session")
def _offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse_remote(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", _refuse_remote(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True)
def _deterministic():
    """Seeds what a test may draw from, and bounds torch's threads where the test file uses torch at all."""
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.manual_seed(SEED)
        torch.set_num_threads(THREADS)
