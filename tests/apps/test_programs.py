"""Programs: added by people, and declared in jobqueue.yaml."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.engine import Connection

from apps.extension import add_program, list_programs, on_start
from apps.programs import BadProgram, Program
from backends import NewJob, Queue, indexing_jobs, open_engine

DOCS = {"id": 3, "name": "Docs", "source": "local", "folder": "/srv/docs", "index": "on_start", "settings": {}}


def start(engine: Engine, *declared: dict[str, Any], is_first: bool = True) -> list[str]:
    queue = Queue(engine)

    def enqueue(job: NewJob, connection: Connection) -> int:
        return queue.enqueue([job], connection)[0]

    return on_start(engine, declared, enqueue, is_first)


def programs(engine: Engine) -> list[Program]:
    with engine.begin() as connection:
        return list_programs(connection)


def jobs(engine: Engine) -> list[tuple[str, int]]:
    with engine.begin() as connection:
        return [(row.job_type, row.program_id) for row in connection.execute(select(indexing_jobs))]


def test_a_declared_program_is_stored_and_scanned_once(engine: Engine) -> None:
    said = start(engine, DOCS)
    assert said[0] == "program 3 (Docs) was added: files in /srv/docs"
    assert "will scan program 3" in said[1]
    assert programs(engine) == [Program(3, "Docs", "local", "/srv/docs", {}, True)]
    assert "already" in start(engine, DOCS)[1]
    assert jobs(engine) == [("full_scan", 3)]


def test_who_is_not_the_first_has_only_those_scanned_that_never_were(engine: Engine) -> None:
    start(engine, DOCS)
    Queue(engine).cancel(1)
    more = DOCS | {"id": 4, "name": "More"}
    assert "job 2 will scan program 4" in start(engine, DOCS, more, is_first=False)[-1]
    assert jobs(engine) == [("full_scan", 3), ("full_scan", 4)]
    start(engine, DOCS)
    assert len(jobs(engine)) == 3


def test_those_who_start_at_the_same_moment_store_and_scan_a_program_once(database_url: str) -> None:
    engines = [open_engine(database_url) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda engine: start(engine, DOCS), engines))
    assert sum("will scan" in sentence for each in said for sentence in each) == 1
    assert jobs(engines[0]) == [("full_scan", 3)]
    for engine in engines:
        engine.dispose()


def test_a_program_that_is_only_declared_is_not_scanned(engine: Engine) -> None:
    start(engine, DOCS | {"index": "manual"})
    assert jobs(engine) == []


def test_a_changed_declaration_changes_the_program(engine: Engine) -> None:
    start(engine, DOCS)
    said = start(engine, DOCS | {"folder": "/srv/other", "settings": {"a": 1}})
    assert "was changed" in said[0]
    assert programs(engine) == [Program(3, "Docs", "local", "/srv/other", {"a": 1}, True)]


def test_the_next_id_is_past_those_that_were_declared(engine: Engine, tmp_path: Path) -> None:
    start(engine, DOCS, DOCS | {"id": 7, "name": "More"})
    with engine.begin() as connection:
        assert add_program(connection, "New", "local", str(tmp_path)) == 8
        assert add_program(connection, "Newer", "local", str(tmp_path), id=20) == 20
        assert add_program(connection, "Newest", "google_drive") == 21


def test_a_declaration_does_not_take_over_somebody_elses_program(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        add_program(connection, "Somebody's", "local", str(tmp_path), id=3)
    said = start(engine, DOCS, DOCS | {"id": 4})
    assert "belongs to \"Somebody's\"" in said[0]
    assert [program.name for program in programs(engine)] == ["Somebody's", "Docs"]


def test_a_relative_folder_counts_from_the_working_directory(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with engine.begin() as connection:
        add_program(connection, "Relative", "local", "docs")
    assert programs(engine)[0].folder == str(tmp_path / "docs")


@pytest.mark.parametrize(("values", "said"), [
    ({"name": ""}, "needs a name"),
    ({"source": "floppy"}, "choose one of: local, google_drive"),
    ({"folder": None}, "needs a folder"),
    ({"settings": {"access_token": "x"}}, "access_token_env: NAME"),
    ({"settings": {"a": object()}}, "cannot be stored as JSON"),
])  # fmt: skip
def test_what_could_never_be_indexed_is_refused(engine: Engine, values: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"name": "Name", "source": "local", "folder": "/srv", **values}
    with engine.begin() as connection, pytest.raises(BadProgram, match=said):
        add_program(connection, **given)
