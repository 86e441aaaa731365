"""The options that many commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def small(value: int | None) -> int | None:
    """Refuses what does not fit the integer columns of both databases."""
    if value is not None and not -(2**31) <= value < 2**31:
        raise typer.BadParameter(f"{value} does not fit into 32 bits")
    return value


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration file.",
        show_default="$JOBQUEUE_CONFIG, else ./jobqueue.yaml",
    ),
]
JobId = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="The job's id.", show_default=False)]
JobIds = Annotated[
    list[int], typer.Argument(metavar="ID...", min=1, max=2**63 - 1, help="Job ids.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why, for those who read the audit later.")
]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name.", show_default=False)]
