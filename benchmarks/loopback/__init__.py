"""A small server on the loopback interface that speaks the OpenAI chat API, so that what goes over the wire is seen."""

from benchmarks.loopback.recordings import Recordings, UnseenRequestError
from benchmarks.loopback.replies import Replies, Reply
from benchmarks.loopback.server import Exchange, Loopback

__all__ = ["Exchange", "Loopback", "Recordings", "Replies", "Reply", "UnseenRequestError"]
