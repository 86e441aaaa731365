"""The life of a job as a picture, drawn from the table of legal moves."""

from __future__ import annotations

from .job import FINAL, MOVES, Status


def state_diagram() -> str:
    """A Mermaid state diagram of `MOVES`, one arrow for each pair of statuses, labelled with the verbs that make the move.

    Enqueueing and pruning, which make and delete the row, are its beginning and its ends. Ends without a line break.
    """
    verbs: dict[tuple[Status, Status], list[str]] = {}
    for move in MOVES:
        verbs.setdefault((move.before, move.after), []).append(move.verb)
    moves = [f"{before} --> {after}: {', '.join(names)}" for (before, after), names in verbs.items()]
    ends = [f"{status} --> [*]: prune" for status in Status if status in FINAL]
    return "\n    ".join(["stateDiagram-v2", "[*] --> pending: enqueue", *moves, *ends])
