"""Search: the files of a program by the words in their names, paths and texts, the same on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, text, update
from sqlalchemy.orm import Session

from apps.indexing.jobs import full_scan
from apps.indexing.words import MOST_BYTES, sought_words, words_of
from apps.indexing_service import IndexingService
from apps.search import BadQuery, SearchPage, search_files, snippet
from backends import Role, Scope, index_file, indexed_files, memberships, users
from tests.apps.context import Installation


class Shelf:
    """A program whose folder is filled and scanned."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation, self.folder = installation, folder
        folder.mkdir()
        self.program = installation.program("local", str(folder))

    def scan(self, files: dict[str, str]) -> None:
        """Write these files and scan the folder."""
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        self.installation.run(full_scan, self.program)

    def page(self, query: str, **values: Any) -> SearchPage:
        """What a search answers."""
        with self.installation.engine.execution_options(jobqueue_read=True).connect() as connection:
            return search_files(connection, values.pop("program_id", self.program), query, **values)

    def find(self, query: str, **values: Any) -> list[str]:
        """The paths that a search answers."""
        return [found.path for found in self.page(query, **values).results]


@pytest.fixture
def shelf(installation: Installation, tmp_path: Path) -> Shelf:
    return Shelf(installation, tmp_path / "files")


def test_all_words_must_occur_wherever_they_stand(shelf: Shelf) -> None:
    shelf.scan({"reports/annual.txt": "The budget grew by twenty percent.", "reports/notes.txt": "No budget here."})
    assert shelf.find("budget") == ["reports/notes.txt", "reports/annual.txt"]
    assert shelf.find("budget grew") == ["reports/annual.txt"]
    assert shelf.find("reports BUDGET annual") == ["reports/annual.txt"]
    assert shelf.find("budget shrank") == []
    assert shelf.find("budg") == []


def test_a_result_says_what_people_need_to_see(shelf: Shelf) -> None:
    shelf.scan({"a/plan.md": "# Plan\n\nWe   ship on Monday."})
    (found,) = shelf.page("monday").results
    assert (found.name, found.path, found.mime_type) == ("plan.md", "a/plan.md", "text/markdown")
    assert found.snippet == "# Plan We ship on Monday."
    assert found.modified_at is not None
    assert found.as_dict()["modified_at"].endswith("+00:00")
    assert found.file_id == shelf.installation.rows()[0].file_id


def test_files_that_are_called_so_come_before_those_that_say_so(shelf: Shelf) -> None:
    shelf.scan({"invoice.txt": "x", "letter.txt": "your invoice", "invoice/other.txt": "x"})
    assert shelf.find("invoice")[0] == "invoice.txt"
    assert set(shelf.find("invoice")) == {"invoice.txt", "letter.txt", "invoice/other.txt"}


def test_a_file_without_a_text_is_found_by_its_name(shelf: Shelf) -> None:
    shelf.scan({"holiday.png": "not read"})
    (found,) = shelf.page("holiday").results
    assert found.snippet == ""


SPELLINGS = [
    ("Élève à l'école", "eleve ecole"), ("eleve noir", "Élève noir"), ("E\u0301tude", "étude"), ("STRASSE", "straße"),
    ("ﬁnal", "final"), ("snake_case", "case snake"), ("a multi-agent system", "multi-agent"), ("version 20.04", "20.04"),
    ("日本語の文章", "日本"), ("漢字語", "語 漢"), ("ПРИВЕТ", "привет"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("who's there", "@who's!"),
    ("naïve café", "CAFE"), ("x" * 300, "x" * 300), ("mail bob@example.org", "bob@example.org"), ("C:\\dir\\f", "dir\\f"),
]  # fmt: skip


def test_spelling_does_not_count(shelf: Shelf) -> None:
    shelf.scan({f"{n}.txt": content for n, (content, _) in enumerate(SPELLINGS)})
    for n, (_, query) in enumerate(SPELLINGS):
        assert shelf.find(query) == [f"{n}.txt"], query


HOSTILE = [
    'say "cheese', "NOT budget", "budget OR", "budget*", "(budget", "budget)", "label:budget", "^budget", "-budget", "a AND", "'",
    "budget'); DROP TABLE indexed_files; --", "budget\0", "\ud800budget", "{budget}", "NEAR(budget grew)", "budget & !grew", "\\",
    "budget:*", "%", "_", "\ue0001", "\ue001budget", "budget\n\tgrew", "\u202ebudget", "ﷺ", "½", "😀 budget",
]  # fmt: skip


def test_no_query_is_malformed(shelf: Shelf) -> None:
    shelf.scan({"annual.txt": "The budget grew."})
    there = set(words_of("annual txt The budget grew."))
    for query in HOSTILE:
        words = set(sought_words(query))
        if words:
            assert shelf.find(query) == (["annual.txt"] if words <= there else []), query
        else:
            with pytest.raises(BadQuery, match="no word"):
                shelf.find(query)


def test_what_is_no_query_is_refused(shelf: Shelf) -> None:
    for query, said in (
        ("", "no word"), ("  \n", "no word"), ("?!_", "no word"), ("x" * 10_000, "at most 1000"),
        (" ".join(map(str, range(51))), "51 words"),
    ):  # fmt: skip
        with pytest.raises(BadQuery, match=said):
            shelf.find(query)


def test_a_limit_or_cursor_that_means_nothing_is_refused(shelf: Shelf) -> None:
    for limit in (0, 101, -1):
        with pytest.raises(BadQuery, match="1 to 100"):
            shelf.find("budget", limit=limit)
    for cursor in ("", "n0", "t1 OR 1", "t٣", "n" + "9" * 30):
        with pytest.raises(BadQuery, match="begin again"):
            shelf.find("budget", cursor=cursor)


def test_pages_follow_each_other_without_gap_or_repetition(shelf: Shelf) -> None:
    shelf.scan({f"{'budget' if n % 2 else 'file'}-{n}.txt": "the budget" for n in range(9)})
    whole = shelf.find("budget")
    assert len(whole) == 9
    assert ["budget" in path for path in whole] == [True] * 4 + [False] * 5
    for limit in range(1, 10):
        pages, cursor = [], None
        while True:
            page = shelf.page("budget", limit=limit, cursor=cursor)
            pages.append([found.path for found in page.results])
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [path for each in pages for path in each] == whole
        assert all(len(each) == limit for each in pages[:-1])
        assert pages[-1]


def test_each_program_is_searched_by_itself(shelf: Shelf, tmp_path: Path) -> None:
    shelf.scan({"ours.txt": "budget"})
    other = Shelf(shelf.installation, tmp_path / "other")
    other.scan({"theirs.txt": "budget"})
    assert shelf.find("budget") == ["ours.txt"]
    assert other.find("budget") == ["theirs.txt"]
    assert shelf.find("budget", program_id=99) == []
    assert shelf.find(f"budget {shelf.program}") == []


def test_a_user_finds_nothing_in_a_program_that_is_not_theirs(shelf: Shelf) -> None:
    shelf.scan({"ours.txt": "budget"})
    with shelf.installation.engine.begin() as connection:
        connection.execute(users.insert().values(id=7, name="ann"))
    assert shelf.find("budget", scope=Scope(7)) == [], "reached beyond the scope"
    with shelf.installation.engine.begin() as connection:
        connection.execute(memberships.insert().values(user_id=7, program_id=shelf.program, role=Role.VIEWER.value))
    assert shelf.find("budget", scope=Scope(7)) == ["ours.txt"]


def change_content(shelf: Shelf) -> None:
    shelf.scan({"plan.txt": "the new text of another size"})


def move(shelf: Shelf) -> None:
    (shelf.folder / "plan.txt").rename(shelf.folder / "moved.txt")
    shelf.scan({})


def remove(shelf: Shelf) -> None:
    (shelf.folder / "plan.txt").unlink()
    shelf.scan({})


def make_unreadable(shelf: Shelf) -> None:
    (shelf.folder / "plan.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    shelf.scan({})


@pytest.mark.parametrize(("event", "gone", "there"), [
    (change_content, "budget", "another"), (move, "plan", "moved budget"), (remove, "budget", "other"),
    (make_unreadable, "budget", "plan"),
])  # fmt: skip
def test_the_index_follows_the_files(shelf: Shelf, event: Callable[[Shelf], None], gone: str, there: str) -> None:
    shelf.scan({"plan.txt": "the budget", "other.txt": "other"})
    assert shelf.find("budget plan") == ["plan.txt"]
    event(shelf)
    assert shelf.find(gone) == []
    assert len(shelf.find(there)) == 1


def test_a_row_that_is_deleted_is_found_no_more(shelf: Shelf) -> None:
    shelf.scan({"plan.txt": "the budget"})
    with shelf.installation.engine.begin() as connection:
        connection.execute(delete(indexed_files))
        assert connection.scalar(text("SELECT count(*) FROM jobqueue_search")) == 0
    assert shelf.find("budget") == []


def test_files_of_an_earlier_release_are_found_after_the_next_scan(shelf: Shelf) -> None:
    shelf.scan({f"{n}.txt": "the budget" for n in range(45)})
    with shelf.installation.engine.begin() as connection:
        connection.execute(text("DELETE FROM jobqueue_search"))
    assert shelf.find("budget") == []
    shelf.scan({})
    assert len(shelf.find("budget", limit=100)) == 45
    assert shelf.page("budget").results[0].snippet == "the budget"


def test_a_transaction_that_is_rolled_back_leaves_no_words(shelf: Shelf) -> None:
    shelf.scan({"plan.txt": "the budget"})
    number = shelf.installation.rows()[0].id
    with shelf.installation.engine.connect() as connection:
        index_file(connection, shelf.program, number, ["other"], ["other"], ["other"])
        connection.rollback()
    assert shelf.find("other") == []
    assert shelf.find("budget") == ["plan.txt"]


def test_a_text_of_more_words_than_an_index_holds_is_found_by_the_first_of_them(shelf: Shelf) -> None:
    shelf.scan({"long.txt": " ".join(f"word{n}" for n in range(200_000)), "é.txt": " ".join(f"é{n}" for n in range(100_000))})
    assert {row.status for row in shelf.installation.rows()} == {"indexed"}
    assert shelf.find("word0 word1000 long") == ["long.txt"]
    assert shelf.find("word199999") == []
    assert shelf.find("é99") == ["é.txt"]


def test_what_the_words_of_a_text_take_is_bounded() -> None:
    assert sum(len(word.encode()) for word in words_of(" ".join(map(str, range(1_000_000))))) <= MOST_BYTES
    assert words_of("日本語" * 300_000) == ["日", "本", "語", "日本", "本語", "語日"]


def test_a_snippet_shows_the_words_in_their_place() -> None:
    long = "alpha " * 100 + "the Budget grew " + "omega " * 100
    shown = snippet(long, ["budget"])
    assert "the Budget grew" in shown
    assert shown.startswith("…alpha")
    assert shown.endswith("…")
    assert len(shown) < 200
    assert snippet("budgetary budget", ["budget"]) == "budgetary budget"
    assert snippet(long, ["nowhere"]).startswith("alpha")
    assert snippet("", ["budget"]) == ""
    assert snippet("a <b>budget</b>", ["budget"]) == "a <b>budget</b>"


def test_an_application_searches_in_its_own_session(shelf: Shelf) -> None:
    shelf.scan({"plan.txt": "the budget"})
    with Session(shelf.installation.engine) as db:
        page = IndexingService(db).search_files(shelf.program, "budget", limit=5)
        assert [found.name for found in page.results] == ["plan.txt"]
        assert not db.in_transaction()


def test_a_search_asks_the_index_however_many_files_there_are(shelf: Shelf) -> None:
    engine = shelf.installation.engine
    shelf.scan({"plan.txt": "the budget"})
    numbers = (
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)"
        if engine.dialect.name == "sqlite" else "WITH n AS (SELECT generate_series(1, 20000) AS n)"
    )
    vector = "'many plain'" if engine.dialect.name == "sqlite" else "'many plain'::tsvector"
    key = "rowid" if engine.dialect.name == "sqlite" else "file_id"
    with engine.begin() as connection:
        connection.execute(text(
            "INSERT INTO indexed_files (program_id, file_id, name, path, mime_type, status) "
            f"{numbers} SELECT 99, 'f' || n, 'n', 'p', 'text/plain', 'indexed' FROM n"
        ))
        connection.execute(text(
            f"INSERT INTO jobqueue_search ({key}, label, words)"
            f" SELECT id, {vector}, {vector} FROM indexed_files WHERE program_id = 99"
        ))
        connection.execute(text("ANALYZE"))
    began = time.monotonic()
    assert shelf.find("budget") == ["plan.txt"]
    assert shelf.find("many") == []
    assert time.monotonic() - began < 1
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(indexed_files)) == 20001


def test_a_row_that_somebody_marks_as_another_programs_does_not_leak(shelf: Shelf) -> None:
    shelf.scan({"plan.txt": "the budget"})
    with shelf.installation.engine.begin() as connection:
        connection.execute(update(indexed_files).values(program_id=99))
    assert shelf.find("budget") == []


def test_a_program_with_a_negative_number_is_searched_like_any_other(engine: Engine) -> None:
    with engine.begin() as connection:
        assert search_files(connection, -3455, "lease").results == []
