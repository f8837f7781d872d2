"""The table that every attack ends with: what was tried, what held, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came of one kind of attack."""

    name: str
    held_count: int = 0
    failures: list[str] = field(default_factory=list)

    def held(self) -> None:
        """One more that did no harm."""
        self.held_count += 1

    def failed(self, detail: str) -> None:
        """One more that did, and how."""
        self.failures.append(detail)


def show(tallies: Sequence[Tally]) -> int:
    """Print the table, and what failed; the exit status."""
    width = max(len("attack"), *(len(tally.name) for tally in tallies))
    print(f"{'attack':<{width}}  {'tried':>6}  {'held':>6}  {'failed':>6}")
    for tally in tallies:
        failed = len(tally.failures)
        print(f"{tally.name:<{width}}  {tally.held_count + failed:>6}  {tally.held_count:>6}  {failed:>6}")
    for tally in tallies:
        for detail in tally.failures:
            print(f"{tally.name}: {detail}")
    return int(any(tally.failures for tally in tallies))
