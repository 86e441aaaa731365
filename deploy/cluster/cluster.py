"""A Postgres cluster on this machine to try a job queue on: `cluster.py start replica|patroni|pgbouncer`, then `stop`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from kinds import KINDS, Kind, Patroni, Replica
from servers import Trouble, make_folder


def main() -> int:
    """Do what the command line says; 0, or 1 with a sentence that says what is wrong."""
    asked = _arguments()
    try:
        asked.do(asked)
    except (Trouble, OSError) as trouble:
        print(trouble, file=sys.stderr)
        return 1
    return 0


def start(asked: argparse.Namespace) -> None:
    """Make the cluster, or start again what of it does not run; say how to use it. One that cannot be made leaves nothing."""
    facts = _facts(asked.folder)
    if facts and asked.kind not in (None, facts["kind"]):
        raise Trouble(f"{asked.folder} holds a cluster of kind {facts['kind']}: stop it first, or give another --folder")
    new = not facts
    if new:
        facts = {"kind": asked.kind or "replica", "port": asked.port, "sync": asked.sync == "on", "nodes": asked.nodes}
    kind = KINDS[facts["kind"]](asked.folder, facts)
    if not asked.folder.exists():
        asked.folder.parent.mkdir(parents=True, exist_ok=True)
        make_folder(asked.folder)
    elif not (asked.folder / "cluster.json").exists():
        raise Trouble(f"{asked.folder} is there and holds no cluster: give another --folder, or remove it")
    _keep(kind)  # before anything runs, so that `stop` can end what an interrupted start leaves
    try:
        kind.start(asked.copy)
    except Trouble:
        if new:
            _end(kind)
            shutil.rmtree(asked.folder)
        raise
    print(f"database_url: {kind.url()}")
    if kind.settings():
        print(kind.settings())


def stop(asked: argparse.Namespace) -> None:
    """End all servers, and remove the folder unless it is to be kept."""
    _end(_known(asked.folder))
    if not asked.keep:
        shutil.rmtree(asked.folder)


def _end(kind: Kind) -> None:
    for server in kind.servers():
        server.end(signal.SIGTERM if server.name not in kind.postgres else signal.SIGINT, within=30)


def status(asked: argparse.Namespace) -> None:
    """Print what there is, as JSON: the URL, the primary, and each server's pid."""
    kind = _known(asked.folder)
    pids = {server.name: server.process.pid for server in kind.servers() if server.process}
    pids |= {name: each.pid() for name, each in kind.postgres.items() if each.pid()}
    print(json.dumps({"url": kind.url(), "primary": kind.primary(), "pids": pids}))


def promote(asked: argparse.Namespace) -> None:
    """Make a replica the primary."""
    kind = _known(asked.folder)
    if isinstance(kind, Patroni):
        kind.switch_over()
    elif isinstance(kind, Replica):
        kind.promote_beside() if asked.beside else kind.promote()
        _keep(kind)


def _known(folder: Path) -> Kind:
    facts = _facts(folder)
    if not facts:
        raise Trouble(f"{folder} holds no cluster: start one first")
    return KINDS[facts["kind"]](folder, facts)


def _facts(folder: Path) -> dict:
    path = folder / "cluster.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(kind: Kind) -> None:
    (kind.folder / "cluster.json").write_text(json.dumps(kind.facts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=lambda text: Path(text).absolute(), default="/tmp/jobqueue-cluster")
    commands = parser.add_subparsers(required=True)
    starting = commands.add_parser("start", help=start.__doc__)
    starting.add_argument("kind", nargs="?", choices=KINDS)
    starting.add_argument("--port", type=int, default=15432, help="the first server's; the others take higher ones")
    starting.add_argument("--sync", choices=("on", "off"), default="on", help="synchronous replication")
    starting.add_argument("--nodes", type=int, choices=(1, 2, 3), help="servers: replica 2, patroni 2 or 3, pgbouncer 1 or 2")
    starting.add_argument("--copy", action="store_true", help="copy a former primary anew instead of rewinding it")
    starting.set_defaults(do=start)
    stopping = commands.add_parser("stop", help=stop.__doc__)
    stopping.add_argument("--keep", action="store_true", help="keep the folder; `start` goes on with it")
    stopping.set_defaults(do=stop)
    commands.add_parser("status", help=status.__doc__).set_defaults(do=status)
    promoting = commands.add_parser("promote", help=promote.__doc__)
    promoting.add_argument("--beside", action="store_true", help="leave the former primary running: it is read-only already")
    promoting.set_defaults(do=promote)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
