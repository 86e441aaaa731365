"""The command line. Importing it must stay cheap: a command imports what it needs when it runs, not before.

`run(arguments)` runs one command and returns its exit code; `app` is the tree of commands.
"""

from .tree import app, run

__all__ = ["app", "run"]
