"""Search over HTTP: what was indexed is found, a page at a time, by those who see the program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apps.http.problems import NOT_FOUND
from tests.apps.context import Installation
from tests.apps.http.conftest import Person, Served
from tests.apps.http.scene import index

FILES = {f"notes/{name}.md": f"the budget of {name}" for name in ("may", "june", "july")}


def test_files_are_found_by_their_words_a_page_at_a_time(served: Served, installation: Installation, tmp_path: Path) -> None:
    program_id = index(installation, tmp_path / "files", FILES)
    found, cursor = [], ""
    while cursor is not None:
        page = served.client.get(
            f"/indexing/search/{program_id}", params={"q": "BUDGET", "limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        found.append([each["name"] for each in page["results"]])
        cursor = page["next_cursor"]
    assert [len(names) for names in found] == [2, 1]
    assert sorted(name for names in found for name in names) == ["july.md", "june.md", "may.md"]
    [june] = served.client.get(f"/indexing/search/{program_id}?q=budget+june").json()["results"]
    assert june["snippet"] == "the budget of june"
    assert june["modified_at"].endswith("Z")


def test_only_who_sees_the_program_finds_its_files(
    server: Callable[..., Served], database_url: str, installation: Installation, tmp_path: Path, person: Person
) -> None:
    program_id = index(installation, tmp_path / "files", FILES)
    guarded = server(database_url, api={"auth": "tokens"})
    with guarded.as_user(person("vera", {program_id: "viewer"})) as vera:
        assert len(vera.get(f"/indexing/search/{program_id}?q=budget").json()["results"]) == 3
    with guarded.as_user(person("anna", {program_id + 1: "admin"})) as anna:
        assert anna.get(f"/indexing/search/{program_id}?q=budget").json() == NOT_FOUND
        assert anna.get(f"/indexing/search/{program_id + 1}?q=budget").json() == {"results": [], "next_cursor": None}


@pytest.mark.parametrize(
    "query",
    ["", "q=", "q=...", "q=a&limit=0", "q=a&cursor=x", "q=a%00b", "q=a&page=2", "q=" + "a" * 1_001,
     "q=" + "+".join(f"w{n}" for n in range(51))],
)
def test_a_query_that_cannot_be_answered_is_refused_with_the_reason(steady: Served, query: str) -> None:
    answer = steady.client.get(f"/indexing/search/1?{query}")
    assert answer.status_code == 422
    assert all(error["what"] and error["fix"] for error in answer.json()["errors"])
