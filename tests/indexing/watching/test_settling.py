"""The decision when to build, with a clock that the test turns."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_ft.indexing.watching.settling import Settling

QUIET, LONGEST = 0.5, 10.0


class Folder:
    """A folder that changes at given moments, watched as `Watcher` does: it looks at a change, or when told to."""

    def __init__(self, changes: list[tuple[float, str, object]]) -> None:
        self.changes = sorted(changes, key=lambda change: change[0])
        self.settling = Settling(QUIET, LONGEST)
        self.now = 0.0
        self.files: dict[str, object] = {"first": 0}
        self.builds: list[tuple[float, dict[str, object], frozenset[str]]] = []

    def run(self, until: float, build_s: float = 0.1) -> None:
        wake: list[float] = [0.0]
        looks = 0
        while wake and wake[0] <= until:
            self.advance(heapq.heappop(wake))
            decision = self.settling.look(dict(self.files), self.now)
            looks += 1
            assert looks < 10_000, "the watch never rests"
            if decision.build:
                self.builds.append((self.now, dict(self.files), decision.moving))
                self.settling.built(decision.moving, self.now + build_s)
                wake = [self.now + build_s]
            elif decision.wait_s is not None:
                wake = [self.now + max(decision.wait_s, 1e-6)]
            elif self.changes:
                wake = [self.changes[0][0] + 0.05]
        self.advance(until)

    def advance(self, now: float) -> None:
        self.now = max(self.now, now)
        while self.changes and self.changes[0][0] <= self.now:
            _, name, value = self.changes.pop(0)
            if value is None:
                self.files.pop(name, None)
            else:
                self.files[name] = value


changes = st.lists(
    st.tuples(st.floats(0, 60), st.sampled_from("abcde"), st.one_of(st.none(), st.integers(1, 3))), max_size=60
)


@given(changes)
@example([(0.0, "a", 1), (0.5, "a", 2)])
def test_all_that_has_changed_is_taken_in_soon_after_the_last_change(changes):
    last = max((moment for moment, _, _ in changes), default=0.0)
    folder = Folder(changes)
    folder.run(until=last + 2 * QUIET + 1)
    taken: dict[str, object] = {}
    for _, files, moving in folder.builds:
        unchanged = {name: value for name, value in taken.items() if name in moving}
        taken = {name: value for name, value in files.items() if name not in moving} | unchanged
    assert taken == folder.files


@given(changes)
def test_only_what_was_still_for_the_quiet_time_is_taken_in(changes):
    settling, now = Settling(QUIET, LONGEST), 0.0
    seen: dict[str, object] = {}
    taken: dict[str, object] = {}
    changed_at: dict[str, float] = {}
    for wait, name, value in changes:
        now += wait / 30
        files = {other: kept for other, kept in {**seen, name: value}.items() if kept is not None}
        changed_at.update({other: now for other in seen.keys() | files.keys() if seen.get(other) != files.get(other)})
        seen = files
        decision = settling.look(files, now)
        if decision.build:
            differing = {other for other in taken.keys() | files.keys() if taken.get(other) != files.get(other)}
            assert all(now - changed_at[other] >= QUIET for other in differing - decision.moving)
            assert all(now - changed_at[other] < QUIET for other in decision.moving)
            settling.built(decision.moving, now)
            kept = {other: value for other, value in taken.items() if other in decision.moving}
            taken = {other: value for other, value in files.items() if other not in decision.moving} | kept


def test_the_first_look_builds_when_the_files_are_still():
    settling = Settling(QUIET, LONGEST)
    assert settling.look({"a": 1}, 0.0) == (False, {"a"}, QUIET)
    assert settling.look({"a": 1}, QUIET).build


def test_nothing_is_done_while_nothing_changes():
    settling = Settling(QUIET, LONGEST)
    settling.look({"a": 1}, 0.0)
    settling.look({"a": 1}, 1.0)
    settling.built(frozenset(), 1.0)
    assert settling.look({"a": 1}, 2.0) == (False, frozenset(), None)


def test_a_thousand_changes_within_seconds_make_one_build():
    folder = Folder([(2 + i * 0.003, f"file{i}", i + 1) for i in range(1000)])
    folder.run(until=10)
    assert [len(files) for _, files, _ in folder.builds] == [1, 1001]
    assert folder.builds[1][0] - (2 + 999 * 0.003) <= QUIET + 0.06


def test_a_file_that_never_rests_holds_up_the_others_for_a_while_and_is_left_out():
    folder = Folder([(1 + i * 0.2, "log", i + 1) for i in range(200)] + [(1.0, "letter", 1)])
    folder.run(until=41)
    moment, files, moving = folder.builds[1]
    assert moving == {"log"} and "letter" in files
    assert LONGEST <= moment - 1 <= LONGEST + QUIET + 0.1
    assert len(folder.builds) == 2
    folder.run(until=43)
    assert len(folder.builds) == 3 and folder.builds[2][2] == frozenset()


def test_a_file_that_is_replaced_by_its_old_content_is_no_change():
    folder = Folder([(2.0, "first", 1), (2.2, "first", 0)])
    folder.run(until=10)
    assert len(folder.builds) == 1


@pytest.mark.parametrize("mended", [True, False])
def test_a_build_that_fails_is_tried_again_after_a_pause_or_when_a_file_changes(mended):
    settling = Settling(QUIET, LONGEST)
    settling.look({"a": 1}, 0.0)
    assert settling.look({"a": 1}, 1.0).build
    settling.failed(1.0)
    files = {"a": 2} if mended else {"a": 1}
    decision = settling.look(files, 1.1)
    assert not decision.build and decision.wait_s is not None
    assert decision.wait_s < 1 if mended else 4 < decision.wait_s <= 5
    assert settling.look(files, 1.1 + decision.wait_s).build


def test_the_pauses_between_failing_builds_grow_to_a_minute():
    settling, now, pauses = Settling(QUIET, LONGEST), 0.0, []
    settling.look({"a": 1}, now)
    now = 1.0
    for _ in range(7):
        assert settling.look({"a": 1}, now).build
        settling.failed(now)
        pauses.append(settling.look({"a": 1}, now).wait_s)
        now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 60, 60, 60]
