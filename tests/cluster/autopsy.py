"""What is left of a cluster's run for people to look into: the servers' logs, and who waits for whom at its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from .clusters import Cluster

VIEWS = {
    "activity": "SELECT * FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    "replication": "SELECT * FROM pg_stat_replication",
    "receiver": "SELECT * FROM pg_stat_wal_receiver",
    "waiting locks": "SELECT * FROM pg_locks WHERE NOT granted",
    "place": "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
             " ELSE pg_current_wal_flush_lsn() END AS at",
    "settings": "SELECT name, setting, pending_restart FROM pg_settings WHERE name IN ('synchronous_standby_names',"
                " 'synchronous_commit', 'default_transaction_read_only', 'primary_conninfo')",
    "jobs": "SELECT * FROM indexing_jobs WHERE status IN ('pending', 'running') ORDER BY id LIMIT 300",
}


def keep(cluster: Cluster, folder: Path) -> None:
    """Write what the servers show into `folder`, and copy their logs there. Whatever does not answer says so instead."""
    folder.mkdir()
    for kept in (*cluster.folder.glob("*.log"), *cluster.folder.glob("*.json"), *cluster.folder.glob("?/postgresql.auto.conf")):
        shutil.copy(kept, folder / "-".join(kept.relative_to(cluster.folder).parts))
    for name in ("a", "b", "c"):
        port = cluster.port_of(name)
        shown = {view: _rows(port, statement) for view, statement in VIEWS.items()}
        (folder / f"{name}.json").write_text(json.dumps(shown, indent=1, default=str))


def _rows(port: int, statement: str) -> Any:
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres?connect_timeout=2&options=-cstatement_timeout%3D5s"
    try:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()
    except psycopg.Error as error:
        return str(error)
