"""`programs`, on both databases."""

from __future__ import annotations

from tests.cli.conftest import CONFIGURATION, Place, on_sqlite


def test_a_program_is_added_and_listed(supervisor: Place) -> None:
    given = ("--source", "google_drive", "--folder", "folder_123", "--set", "include_trashed=true")
    number = supervisor("programs", "add", "Handbook", *given).rows[0][0]
    [row] = supervisor("programs", "list").rows
    assert row[:4] == [number, "Handbook", "google_drive", "folder_123"]
    [program] = supervisor("programs", "list", "--json").json
    assert program["settings"] == {"include_trashed": True}
    assert program["declared"] is False


def test_the_number_can_be_chosen_once(supervisor: Place) -> None:
    assert supervisor("programs", "add", "Docs", "--folder", ".", "--id", 42, "--json").json == {"id": 42}
    ran = supervisor("programs", "add", "More", "--folder", ".", "--id", 42, code=5)
    assert ran.err.startswith("error[PROGRAM] program 42 exists already")


@on_sqlite
def test_a_local_program_needs_a_folder(supervisor: Place) -> None:
    assert "needs a folder" in supervisor("programs", "add", "Docs", code=5).err


@on_sqlite
def test_a_folder_that_is_not_there_is_noted(supervisor: Place) -> None:
    assert (
        "Note: nowhere is not a folder on this host."
        in supervisor("programs", "add", "Docs", "--folder", "nowhere").err
    )


def test_an_unknown_source_is_a_usage_error(place: Place) -> None:
    assert "'--source'" in place("programs", "add", "Docs", "--source", "dropbox", code=2).err


@on_sqlite
def test_no_programs_yet_says_how_to_add_one(supervisor: Place) -> None:
    assert supervisor("programs", "list").err == "No programs yet. supervisor programs add --help\n"


@on_sqlite
def test_an_installation_without_programs_says_which_extension_has_them(supervisor: Place) -> None:
    supervisor.write(CONFIGURATION.format(database_url=supervisor.database_url) + "extensions: []\n")
    assert "error[EXTENSION] no extension has programs" in supervisor("programs", "list", code=78).err


@on_sqlite
def test_an_extension_that_cannot_be_imported_is_named(supervisor: Place) -> None:
    supervisor.write(CONFIGURATION.format(database_url=supervisor.database_url) + "extensions: [my_extension]\n")
    ran = supervisor("programs", "list", code=78)
    assert "error[EXTENSION] the extension my_extension cannot be imported: ModuleNotFoundError" in ran.err
