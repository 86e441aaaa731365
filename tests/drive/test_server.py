"""The Drive server itself: it must be right, or it proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httplib2
import pytest
import requests
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from tests.drive import DOCUMENT, DriveServer, Rule, discovery, masks, queries, rate_limited, truncated

LIST: dict[str, Any] = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true"}


@pytest.fixture
def server() -> Iterator[DriveServer]:
    with DriveServer(tokens={"a": "alice", "b": "bob"}) as server:
        yield server


def ask(
    server: DriveServer, path: str, token: str = "a", headers: dict[str, str] | None = None, **given: str
) -> requests.Response:
    sent = {"authorization": f"Bearer {token}", **(headers or {})}
    return requests.get(f"{server.url}/drive/v3/{path}", params=given, headers=sent, timeout=10)


def reason(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["errors"][0]["reason"]


def test_the_clients_own_library_can_page_through_it(server: DriveServer) -> None:
    for number in range(5):
        server.drive.file(f"{number}.txt")
    http = httplib2.Http(proxy_info=None)
    service = build(
        "drive", "v3", http=http, static_discovery=True, cache_discovery=False,
        client_options={"api_endpoint": f"{server.url}/drive/v3/"},
    )
    names: list[str] = []
    token = None
    while True:
        request = service.files().list(pageSize=2, pageToken=token, fields="nextPageToken,files(name)")
        request.headers["authorization"] = "Bearer a"
        answer = request.execute()
        names += [each["name"] for each in answer["files"]]
        token = answer.get("nextPageToken")
        if token is None:
            break
    assert names == [f"{number}.txt" for number in range(5)]
    assert len(server.log) == 3


def test_a_long_question_by_post_is_the_same_question(server: DriveServer) -> None:
    parents = [server.drive.folder(f"folder {number}") for number in range(100)]
    server.drive.file("file.txt", parent=parents[50])
    service = build("drive", "v3", http=httplib2.Http(proxy_info=None), static_discovery=True, cache_discovery=False,
                    client_options={"api_endpoint": f"{server.url}/drive/v3/"})
    request = service.files().list(q=" or ".join(f"'{each}' in parents" for each in parents), fields="files(name)")
    request.headers["authorization"] = "Bearer a"
    assert request.execute() == {"files": [{"name": "file.txt"}]}


def test_only_the_fields_that_were_asked_for_come_back(server: DriveServer) -> None:
    file_id = server.drive.file("file.txt", "text")
    assert ask(server, f"files/{file_id}").json() == {
        "kind": "drive#file", "id": file_id, "name": "file.txt", "mimeType": "text/plain",
    }
    found = ask(server, f"files/{file_id}", fields="size,capabilities/canDownload").json()
    assert found == {"size": "4", "capabilities": {"canDownload": True}}
    assert reason(ask(server, f"files/{file_id}", fields="nonsense")) == (400, "invalidParameter")


def test_a_page_token_is_good_for_its_own_question_only(server: DriveServer) -> None:
    for _ in range(3):
        server.drive.file("file.txt")
    token = ask(server, "files", pageSize="1").json()["nextPageToken"]
    assert len(ask(server, "files", pageSize="5", pageToken=token).json()["files"]) == 2
    assert reason(ask(server, "files", q="trashed=false", pageToken=token)) == (400, "invalid")
    assert reason(ask(server, "files", "b", pageToken=token)) == (400, "invalid")
    assert reason(ask(server, "files", pageToken="made up")) == (400, "invalid")


def test_a_users_files_are_not_there_for_another(server: DriveServer) -> None:
    file_id = server.drive.file("file.txt")
    assert reason(ask(server, f"files/{file_id}", "b")) == (404, "notFound")
    assert ask(server, "files", "b").json()["files"] == []
    assert reason(ask(server, "files", "nobody")) == (401, "authError")


def test_a_shared_drive_needs_a_client_that_says_it_knows_them(server: DriveServer) -> None:
    drive_id = server.drive.shared_drive("Team", {"alice"})
    file_id = server.drive.file("file.txt", parent=drive_id)
    assert reason(ask(server, f"files/{file_id}")) == (404, "notFound")
    assert ask(server, f"files/{file_id}", supportsAllDrives="true").status_code == 200
    assert ask(server, "files").json()["files"] == []
    assert len(ask(server, "files", corpora="drive", driveId=drive_id, **LIST).json()["files"]) == 1
    assert reason(ask(server, "files", corpora="drive", driveId=drive_id)) == (403, "teamDrivesParentLimit")
    assert ask(server, f"drives/{drive_id}").json()["name"] == "Team"
    assert reason(ask(server, f"drives/{drive_id}", "b")) == (404, "notFound")


def test_ranges(server: DriveServer) -> None:
    path = "files/" + server.drive.file("file.txt", "0123456789")
    part = ask(server, path, alt="media", headers={"range": "bytes=4-6"})
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "456", "bytes 4-6/10")
    beyond = ask(server, path, alt="media", headers={"range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10")


def test_googles_own_documents_are_exported_and_not_downloaded(server: DriveServer) -> None:
    path = "files/" + server.drive.file("Document", "words", mime_type=DOCUMENT)
    assert reason(ask(server, path, alt="media")) == (403, "fileNotDownloadable")
    assert ask(server, f"{path}/export", mimeType="text/plain").text == "words"
    assert reason(ask(server, f"{path}/export", mimeType="image/png")) == (400, "badRequest")


def test_a_folder_that_moves_or_goes_says_nothing_of_what_is_below(server: DriveServer) -> None:
    folder = server.drive.folder("folder")
    file_id = server.drive.file("file.txt", parent=folder)
    token = ask(server, "changes/startPageToken").json()["startPageToken"]
    server.drive.trash(folder)
    answer = ask(server, "changes", pageToken=token, fields="*").json()
    assert [(each["fileId"], each["removed"]) for each in answer["changes"]] == [(folder, False)]
    assert ask(server, f"files/{file_id}", fields="trashed,explicitlyTrashed").json() == {
        "trashed": True, "explicitlyTrashed": False,
    }
    server.drive.delete(folder)
    later = ask(server, "changes", pageToken=answer["newStartPageToken"], fields="*").json()
    assert [(each["fileId"], each["removed"]) for each in later["changes"]] == [(folder, True)]


@pytest.mark.parametrize("text", [
    "trashed", "trashed=maybe", "color='red'", "'a' in owners", "name contains", "name='a' and", "name='a", "(name='a'",
    "name < 'a'", "name='a' name='b'",
])  # fmt: skip
def test_a_query_outside_of_the_grammar_is_refused(server: DriveServer, text: str) -> None:
    assert reason(ask(server, "files", q=text)) == (400, "invalid")


def test_queries_find_what_they_say() -> None:
    found = {"name": "It's", "parents": ["p"], "trashed": False, "mimeType": "text/plain", "modifiedTime": "2026-01-01T00:00:00Z"}
    for text in (
        r"name = 'It\'s'", "'p' in parents and trashed=false", "not (trashed = true or mimeType contains 'image')",
        "modifiedTime > '2025-01-01T00:00:00Z' and name != 'x'",
    ):
        assert queries.parse(text)(found), text
    assert not queries.parse("'p' in parents and not name contains 'it'")(found)


def test_masks_nest() -> None:
    mask = masks.parse("nextPageToken,files(id,capabilities/canDownload)", "FileList")
    answer = {"kind": "x", "files": [{"id": "1", "name": "n", "capabilities": {"canDownload": True, "canEdit": False}}]}
    assert masks.applied(mask, answer) == {"files": [{"id": "1", "capabilities": {"canDownload": True}}]}
    for text in ("files(id", "files)id", "files(nothing)", "a b", ""):
        with pytest.raises(masks.BadMask):
            masks.parse(text, "FileList")


@pytest.mark.parametrize("answer", [
    {"size": 4}, {"size": "04"}, {"nmae": "x"}, {"trashed": "false"}, {"capabilities": {"canFly": True}}, {"parents": "p"},
    {"modifiedTime": "yesterday"},
])  # fmt: skip
def test_the_checker_catches_what_the_discovery_document_does_not_allow(answer: dict[str, Any]) -> None:
    assert discovery.problems_of_answer("File", answer)


def test_a_wrong_answer_of_our_own_fails_the_test_that_got_it() -> None:
    server = DriveServer(tokens={"a": "alice"})
    file_id = server.drive.file("file.txt", extra={"nmae": "x"})
    with pytest.raises(AssertionError, match="nmae"), server:
        ask(server, f"files/{file_id}", fields="*")
    assert server.log[0].status == 500


def test_a_parameter_that_does_not_exist_fails_the_test_that_sent_it() -> None:
    with pytest.raises(AssertionError, match="no such parameter"), DriveServer(tokens={"a": "alice"}) as server:
        assert reason(ask(server, "files", pagesize="5")) == (400, "badRequest")


def test_a_rule_strikes_when_and_where_it_says(server: DriveServer) -> None:
    one, two = server.drive.file("one.txt", "one"), server.drive.file("two.txt", "two")
    server.rules.append(Rule(rate_limited("7"), "files.get", id=one, nth=2, times=2))
    statuses = [ask(server, f"files/{one}").status_code for _ in range(4)]
    assert statuses == [200, 429, 429, 200]
    assert ask(server, f"files/{two}").status_code == 200
    server.rules.append(Rule(truncated(1), "files.media"))
    with pytest.raises(requests.RequestException):
        ask(server, f"files/{two}", alt="media")


def test_the_log_tells_what_was_asked(server: DriveServer) -> None:
    ask(server, "files", pageSize="3")
    assert [(each.route, each.parameters, each.token, each.status) for each in server.log] == [
        ("files.list", {"pageSize": "3"}, "a", 200)
    ]


def test_the_clients_library_raises_what_the_server_refuses(server: DriveServer) -> None:
    service = build("drive", "v3", http=httplib2.Http(proxy_info=None), static_discovery=True, cache_discovery=False,
                    client_options={"api_endpoint": f"{server.url}/drive/v3/"})
    with pytest.raises(HttpError) as raised:
        service.files().get(fileId="x").execute()
    assert raised.value.resp.status == 401
