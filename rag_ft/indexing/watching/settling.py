"""When to build: changes are waited for until the files are still, and many changes make one build.

Pure logic: it is given the files and the time, and opens nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

QUIET_S = 0.5
"""Seconds for which a file must stay as it is: a program that writes one in pieces pauses for less."""

LONGEST_WAIT_S = 10.0
"""Seconds after which the files that are still are taken in, even if others keep changing."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0
"""Pauses between attempts of a build that fails while no file changes."""


class Decision(NamedTuple):
    """What to do now."""

    build: bool
    moving: frozenset[str] = frozenset()
    """Files that are still being written: leave them as they are in this build, or wait until they rest."""
    wait_s: float | None = None
    """Seconds after which to look again, or sooner if something changes and no file is moving; None: only then."""


class Settling:
    """Decides when a folder's files have settled. Call `look` with what is there, and after a build one of the rest."""

    def __init__(self, quiet_s: float = QUIET_S, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._quiet_s = quiet_s
        self._longest_wait_s = longest_wait_s
        self._built: Mapping[str, Hashable] = {}
        self._seen: Mapping[str, Hashable] = {}
        self._changed_at: dict[str, float] = {}
        self._waiting_since: float | None = None
        self._not_before = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._never_built = True

    def look(self, files: Mapping[str, Hashable], now: float) -> Decision:
        """Decide by the files that are there now: a value for each that changes with its content."""
        changed = _differing(self._seen, files)
        self._changed_at.update(dict.fromkeys(changed, now))
        self._seen = files
        different = _differing(self._built, files)
        if not different and not self._never_built:
            self._waiting_since = None
            self._changed_at.clear()
            return Decision(False)
        if self._waiting_since is None:
            self._waiting_since = now
        if changed:
            self._not_before = 0.0  # whatever made the last build fail may be mended
        moving = {name for name in different if now < self._changed_at.get(name, now - self._quiet_s) + self._quiet_s}
        deadline = self._waiting_since + self._longest_wait_s
        if moving and (now < deadline or moving == different):
            still = max(self._changed_at[name] for name in moving) + self._quiet_s
            return Decision(False, frozenset(moving), (min(still, deadline) if now < deadline else still) - now)
        if now < self._not_before:
            return Decision(False, wait_s=self._not_before - now)
        return Decision(True, frozenset(moving))

    def built(self, moving: frozenset[str], now: float) -> None:
        """Note that a build took in what the last `look` was given, without the files that were moving."""
        built = {name: value for name, value in self._seen.items() if name not in moving}
        built.update({name: value for name, value in self._built.items() if name in moving})
        self._built = built
        self._never_built = False
        self._waiting_since = now if moving else None
        self._not_before, self._pause_s = 0.0, _FIRST_PAUSE_S

    def failed(self, now: float) -> None:
        """Note that the build failed: it is tried again after a pause, or when a file changes."""
        self._not_before = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def _differing(before: Mapping[str, Hashable], after: Mapping[str, Hashable]) -> set[str]:
    """Names whose values differ, or that only one of two mappings has."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
