"""`search`, on both databases."""

from __future__ import annotations

from sqlalchemy import insert

from backends import index_file, indexed_files, open_engine
from tests.cli.conftest import Place, on_sqlite


def shelve(place: Place, *names: str) -> None:
    """Have these files in program 1, each with the word `budget` in its text."""
    engine = open_engine(place.database_url)
    with engine.begin() as connection:
        for name in names:
            values = {"program_id": 1, **dict.fromkeys(("file_id", "name", "path"), name), "mime_type": "text/plain"}
            values["status"] = "indexed"
            number = connection.execute(insert(indexed_files).values(values).returning(indexed_files.c.id)).scalar_one()
            index_file(connection, 1, number, name.split("."), name.split("."), ["budget"])
    engine.dispose()


def test_files_are_found_and_more_are_asked_for(supervisor: Place) -> None:
    shelve(supervisor, "annual.txt", "notes.txt", "plan.txt")
    ran = supervisor("search", 1, "Budget", "--limit", 2)
    assert [row[0] for row in ran.rows] == ["plan.txt", "notes.txt"]
    cursor = ran.err.rpartition("--cursor ")[2].strip()
    page = supervisor("search", 1, "Budget", "--cursor", cursor, "--json").json
    assert [found["path"] for found in page["results"]] == ["annual.txt"]
    assert page["next_cursor"] is None


@on_sqlite
def test_words_may_be_given_one_by_one(supervisor: Place) -> None:
    shelve(supervisor, "annual.txt", "notes.txt")
    assert [row[0] for row in supervisor("search", 1, "budget", "annual").rows] == ["annual.txt"]


@on_sqlite
def test_nothing_found_says_what_to_look_at(supervisor: Place) -> None:
    assert supervisor("search", 1, "budget").err == (
        "Nothing found. Is program 1 indexed? supervisor jobs list --program 1\n"
    )


@on_sqlite
def test_a_query_without_words_is_a_usage_error(supervisor: Place) -> None:
    assert "error[QUERY] the query holds no word" in supervisor("search", 1, "?!", code=2).err


@on_sqlite
def test_words_where_the_program_is_to_stand_are_answered_with_how_to_write_it(supervisor: Place) -> None:
    ran = supervisor("search", "lane", 1, code=2)
    assert ran.err == (
        "error[USAGE] Invalid value for 'PROGRAM': must be a whole number\n"
        "  Usage: supervisor search PROGRAM QUERY... [OPTIONS]. More: supervisor search --help\n"
    )
