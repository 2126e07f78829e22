"""The student's benchmark: what is taught, and what is left out of it for the tools that come later."""

from __future__ import annotations

from test_benchmarks import corpus

from benchmarks import student
from benchmarks.setting import Setting, label_of
from benchmarks.training import count_right
from benchmarks.vectors import CachedEncoder
from dspy_router import Episode, HashEncoder, StaticEncoder


def setting(tmp_path) -> Setting:
    one = Setting(tmp_path, tmp_path / "out", quick=True)
    vars(one)["encoder"] = CachedEncoder(HashEncoder(64))
    return one


def test_the_student_learns_a_trivial_task_from_its_teacher_alone(tmp_path):
    tiny = corpus()
    pair = student.teach(setting(tmp_path), tiny)
    assert count_right(pair.teacher, tiny.val) == len(tiny.val)
    assert count_right(pair.student, tiny.val) >= 0.9 * len(tiny.val)
    assert isinstance(pair.student.encoder, StaticEncoder)


def test_each_query_is_decided_behind_a_bar_that_it_did_not_set(tmp_path):
    tiny = corpus()
    fresh = [Episode.from_example({"query": f"{one.text} today", "tool": label_of(one)}) for one in tiny.train]
    unseen = tiny._replace(val=fresh)
    pair = student.teach(setting(tmp_path), unseen)
    both = student.front(setting(tmp_path), unseen, pair, tmp_path)
    assert sorted(both.scored[0] + both.scored[1]) == list(range(len(fresh)))
    assert both.decides == 1 - sum(router.deferred for router in both.routers) / len(fresh)
    assert both.hits >= 0.9 * len(fresh)
    assert both.bare == count_right(pair.teacher, fresh)


def test_later_tools_are_shown_to_neither(tmp_path, monkeypatch):
    taught = []
    teach = student.teach

    def remember(setting, corpus):
        taught.append(corpus)
        return teach(setting, corpus)

    monkeypatch.setattr(student, "teach", remember)
    tiny = corpus()
    (figure,) = student._later_tools(setting(tmp_path), tiny)
    (known,) = taught
    later = {card.name for card in tiny.cards} - {card.name for card in known.cards}
    assert len(later) == 1
    assert {label_of(one) for one in known.train} == {card.name for card in known.cards}
    assert {label_of(one) for one in known.val} == later
    assert figure.n == len(known.val)
