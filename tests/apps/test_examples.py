"""The example application runs as it stands, under real uvicorn, with the processor that it starts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.apps.embedding import Embedding
from tests.supervisor.scene import is_gone
from tests.support import REPOSITORY, eventually

SCAN = {"handler": "apps.indexing.jobs:full_scan", "lane": "program:{program_id}"}


class DocumentsApp(Embedding):
    """The application, and what people ask of it."""

    def run(self) -> None:
        """Start it and wait until it answers."""
        self.launch("--app-dir", str(REPOSITORY / "docs" / "examples"), app="documents_app:app")
        eventually(self._answers, within=40)

    def get(self, path: str) -> Any:
        """What it answers, decoded."""
        return requests.get(self._url(path), timeout=10).json()

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        """What it answers."""
        return requests.post(self._url(path), json=body, timeout=10)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _answers(self) -> bool:
        try:
            return requests.get(self._url("/queue"), timeout=5).ok
        except requests.ConnectionError:
            return False


@pytest.fixture
def documents(tmp_path: Path, database_url: str) -> Iterator[DocumentsApp]:
    application = DocumentsApp(tmp_path, database_url, workers=1, job_types={"full_scan": SCAN})
    yield application
    application.close()


def test_the_documents_application_creates_jobs_in_its_transaction_and_has_them_processed(
    documents: DocumentsApp, tmp_path: Path
) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "lease.md").write_text("A lease is the right to act.")
    documents.run()
    guides = {"name": "Guides", "folder": str(folder)}

    assert documents.post("/collections?check=true", guides).json()["status"] == "pending"
    assert documents.get("/queue")["oldest_pending_job"] is None
    assert documents.queue.page().jobs == []

    created = documents.post("/collections", guides)
    assert created.status_code == 201, created.text
    number = created.json()["id"]
    done = [{"id": created.json()["job_id"], "status": "completed", "successful_files": 1}]
    eventually(lambda: documents.get(f"/collections/{number}")["jobs"] == done, within=40)
    assert documents.get(f"/collections/{number}/search?q=right+LEASE") == [
        {"path": "lease.md", "snippet": "A lease is the right to act."}
    ]
    assert "no word" in documents.get(f"/collections/{number}/search?q=?")["detail"]

    assert documents.post("/collections", guides).status_code == 409
    assert documents.get("/queue")["completed_jobs"] == 1
    assert len(documents.queue.page().jobs) == 1

    family = documents.family()
    assert family
    documents.stop(signal.SIGTERM, within=30)
    assert is_gone(*family)
    assert "Traceback" not in documents.log.read_text()
