"""`programs`: what is indexed for whom. The work is done by the extension modules named in the configuration."""

from __future__ import annotations

import typer

app = typer.Typer(name="programs", help="What is indexed, and from where.", no_args_is_help=True)
