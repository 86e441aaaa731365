"""Claimed jobs for tests that need no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from backends import Job


def a_job(number: int = 1, **values: Any) -> Job:
    """A job as a claim brings it."""
    usual: dict[str, Any] = dict.fromkeys(Job._fields) | {
        "id": number, "lease": 1, "job_type": "quick", "program_id": 1, "priority": 0, "retry_count": 0, "max_retries": 3,
        "interruptions": 0, "created_at": datetime(2030, 1, 1, tzinfo=UTC),
    }
    return Job(**(usual | values))
