"""A campaign over one path: walk it once to find its points, and hold the count against the server's; then kill at each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from .databases import Databases, Place
from .pool import Trial, verdicts
from .spying import Point, points_of, read_seen
from .syscalls import calls_of_each, counting, killing
from .trial import PATHS, Verdict, attempt

TRIES = 5
"""How often a point is tried that a run did not reach: a slow run may send what no other one does."""

Spot = Point | tuple[str, int]
"""Where to kill: at a statement, or at the n-th of a system call."""


@dataclass(slots=True)
class Report:
    """How often was killed, what was wrong, and where nobody could be killed, each with the number of its point."""

    kills: int = 0
    failures: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)


class Campaign:
    """All kills upon one path."""

    def __init__(self, databases: Databases, path: str, at_once: int) -> None:
        self._databases, self._path, self._at_once = databases, path, at_once
        self._prepared = databases.empty(f"{path}_prepared")
        self._escaped: list[str] = []
        _in_a_process(self._prepare, databases, at_once)

    def _prepare(self) -> Verdict:
        PATHS[self._path].prepare(self._prepared)
        return Verdict(False)

    def kinds(self) -> Iterator[tuple[str, Sequence[Spot]]]:
        """The kinds of points, with the points: `statements`, and on SQLite `system calls`."""
        yield "statements", self._statements()
        if not self._databases.on_postgres:
            yield "system calls", self._calls()

    def _statements(self) -> Sequence[Spot]:
        """Walk it unharmed. What the drivers were seen to send must be what the server was asked."""
        place = self._databases.copy(self._prepared, f"{self._path}_counted")
        self._databases.write_down_statements(place)
        _in_a_process(lambda: attempt(self._databases, place, self._path, None), self._databases, 1)
        seen, sent, asked = read_seen(place.seen), self._databases.sent(place), self._databases.statements(place)
        if not sent or len(sent) != len(asked):
            self._escaped.append(f"{len(sent)} statements were seen, the server was asked {len(asked)}: {place.folder}\n"
                                 + _differing([each.words for each in sent], asked))
        else:
            self._databases.forget(place)
        return points_of(seen, self._databases.on_postgres)

    def _calls(self) -> Sequence[Spot]:
        """Walk it unharmed, with all its threads on a leash. What others than the main one call, no kill could reach."""
        place = self._databases.copy(self._prepared, f"{self._path}_calls")
        strace, main = counting(place.folder), place.folder / "main"

        def attach(pid: int) -> None:
            main.write_text(str(pid))
            strace.attach(pid)

        def walk_on_a_leash() -> Verdict:
            verdict = attempt(self._databases, place, self._path, None, attach)
            strace.wait()
            return verdict

        _in_a_process(walk_on_a_leash, self._databases, 1)
        counted = calls_of_each(place.folder)
        mine = counted.pop(main.read_text(), Counter())
        if counted or not mine:
            self._escaped.append(f"the main thread made {dict(mine)}, and others made {counted}: {place.folder}")
        else:
            self._databases.forget(place)
        return [(call, nth) for call, times in sorted(mine.items()) for nth in range(1, times + 1)]

    def kill_at(self, kind: str, spots: Sequence[tuple[int, Spot]]) -> Report:
        """Kill at each of these points, given with their numbers."""
        report = Report(failures=self._escaped)
        self._escaped = []
        left = dict(spots)
        for turn in range(TRIES):
            trials = [self._trial(f"{self._path}_{kind[:2]}_{number}_{turn}", spot) for number, spot in left.items()]
            numbers = dict(zip((name for name, _ in trials), left, strict=True))
            for name, verdict in verdicts(trials, self._databases.folder, self._at_once):
                number = numbers[name]
                report.kills += verdict.killed
                report.failures += [f"  point {number} ({left[number]}), {name}: {what}" for what in verdict.violations]
                if verdict.killed or verdict.violations:
                    del left[number]
        elsewhere = f"was in the run that counted, and in none of {TRIES} others"
        report.unreached += [f"  point {number} ({spot}) {elsewhere}" for number, spot in left.items()]
        return report

    def _trial(self, name: str, spot: Spot) -> Trial:
        return name, partial(_kill_once, self._databases, self._prepared, self._path, name, spot)


def _kill_once(databases: Databases, prepared: Place, path: str, name: str, spot: Spot) -> Verdict:
    place = databases.copy(prepared, name)
    if isinstance(spot, Point):
        verdict = attempt(databases, place, path, spot)
    else:
        verdict = attempt(databases, place, path, None, killing(place.folder, *spot).attach)
    if not verdict.killed and _was_passed(place, spot):
        verdict.violations.append("it was passed, and nobody was killed")
    if not verdict.violations:
        databases.forget(place)
    return verdict


def _was_passed(place: Place, spot: Spot) -> bool:
    """Whether the run sent that statement, or made that call, and went on."""
    if isinstance(spot, Point):
        return any(each.statement == spot.seen.statement for each in read_seen(place.seen))
    call, nth = spot
    return calls_of_each(place.folder).get("", Counter())[call] >= nth


def _in_a_process(work: Callable[[], Verdict], databases: Databases, at_once: int) -> None:
    """Do it in a process of its own, so that this one never has a database open; what fails there is told here."""
    [(_, verdict)] = verdicts([("", work)], databases.folder, at_once)
    if verdict.violations:
        raise RuntimeError("unharmed, it failed:\n" + "\n".join(verdict.violations))


def _differing(seen: Sequence[str], asked: Sequence[str]) -> str:
    """First words that one side has more often than the other."""
    ours, theirs = (Counter(each.split()[0] for each in side if each.split()) for side in (seen, asked))
    return f"  seen only: {dict(ours - theirs)}; asked only: {dict(theirs - ours)}"
