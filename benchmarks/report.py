"""What the benchmarks share towards the person who runs them: options, and lines with figure, unit and n."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import text

from backends import open_engine

from .stage import Trouble, fresh_folder


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--database", action="append", metavar="URL",
        help="`sqlite`, or the URL of a Postgres server on which databases may be made; may be repeated."
        " Default: both, the server given by --postgres",
    )
    parser.add_argument(
        "--postgres", metavar="URL", default=os.environ.get("BENCH_DATABASE_URL"),
        help="a Postgres server, fsync on, on which databases may be made; default: $BENCH_DATABASE_URL",
    )
    parser.add_argument("--folder", help="where temporary folders are made: on a disk, not in memory")
    return parser


def run(parser: argparse.ArgumentParser, measure: Callable[[str, argparse.Namespace], None]) -> int:
    """Measure each database in turn; returns the exit code."""
    arguments = parser.parse_args()
    if not arguments.database and not arguments.postgres:
        parser.error("give --postgres URL (or $BENCH_DATABASE_URL), or choose with --database sqlite")
    # An end by signal must take the supervisors with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _print_heading()
    try:
        for server in arguments.database or ["sqlite", arguments.postgres]:
            print(f"\n{_facts(server, arguments.folder)}", flush=True)
            measure(server, arguments)
    except Trouble as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _print_heading() -> None:
    name = Path(sys.argv[0]).stem
    print(f"$ python -m benchmarks.{name} {_masked(sys.argv[1:])}".rstrip())
    load = os.getloadavg()[0]
    print(f"# {os.cpu_count()} cores, load {load:.2f} at the start, Python {platform.python_version()}, {platform.release()}")


def _masked(words: Sequence[str]) -> str:
    """The command line without the passwords in it."""
    return shlex.join(word.split("://")[0] + "://***@" + word.rsplit("@", 1)[1] if "://" in word and "@" in word else word
                      for word in words)


def _facts(server: str, parent: str | None) -> str:
    """The database in a line: what its durability rests on. Raises `Trouble` when it has none."""
    with fresh_folder(parent) as folder:
        engine = open_engine(f"sqlite:///{folder}/probe.db" if server == "sqlite" else server)
        wanted = _OF_SQLITE if server == "sqlite" else _OF_POSTGRES
        with engine.connect() as connection:
            said = {name: str(connection.execute(text(statement)).scalar()) for name, statement in wanted.items()}
        engine.dispose()
    if said.get("fsync") == "off":
        raise Trouble("this Postgres runs with fsync=off, where every figure flatters; name another with --postgres")
    return "## " + ", ".join(f"{name} {value}" for name, value in said.items())


_OF_SQLITE = {"SQLite": "SELECT sqlite_version()", "journal": "PRAGMA journal_mode", "synchronous": "PRAGMA synchronous"}
_OF_POSTGRES = {
    "Postgres": "SHOW server_version", "fsync": "SHOW fsync", "synchronous_commit": "SHOW synchronous_commit",
    "shared_buffers": "SHOW shared_buffers",
}


def line(what: str, figure: float, unit: str, n: str | int, more: str = "") -> None:
    """Print one figure."""
    shown = f"{figure:,.0f}" if abs(figure) >= 1000 or figure == int(figure) else f"{figure:.3g}"
    print(f"{what:<52} {shown:>12} {unit:<8} n={n}{'  ' + more if more else ''}", flush=True)


def lines(what: str, values: Sequence[float], unit: str) -> None:
    """Print median, 99th percentile and longest of these."""
    for name, figure in (("median", statistics.median(values)), ("p99", percentile(values, 0.99)), ("max", max(values))):
        line(f"{what}, {name}", figure, unit, len(values))


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of the values that at least this part of them does not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -int(-part * len(ranked) // 1) - 1)]


def spread(values: Sequence[float]) -> str:
    """Smallest and largest, when there is more than one."""
    return f"({min(values):,.4g} to {max(values):,.4g})" if len(values) > 1 else ""
