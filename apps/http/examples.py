"""Examples of requests and answers for the OpenAPI document: the specification's own where it has one."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

Json = dict[str, Any]


def example(value: Json) -> ConfigDict:
    """A model's example in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [value]})


PROCESSOR: Json = {"process_id": "processor_abc123", "running": True, "thread_alive": True, "shutdown_requested": False}

STATUS: Json = {
    "queue": {
        "pending_jobs": 5,
        "running_jobs": 1,
        "completed_jobs": 100,
        "failed_jobs": 3,
        "cancelled_jobs": 0,
        "scheduled_jobs": 0,
        "waiting_jobs": 0,
        "oldest_pending_job": {
            "id": 123,
            "created_at": "2024-01-01T10:00:00Z",
            "job_type": "full_scan",
        },
    },
    "processor": PROCESSOR,
    "is_processor_running": True,
}

REQUEST: Json = {
    "program_id": 1,
    "folder_id": "folder_123",
    "job_type": "specific_folder",
    "priority": 1,
    "job_parameters": {"include_trashed": False, "custom_setting": "value"},
}

JOB: Json = {
    "id": 123,
    "program_id": 1,
    "user_id": 1,
    "job_type": "specific_folder",
    "folder_id": "folder_123",
    "status": "pending",
    "created_at": "2024-01-01T10:00:00Z",
    "started_at": None,
    "completed_at": None,
    "total_files": 0,
    "processed_files": 0,
    "successful_files": 0,
    "failed_files": 0,
    "progress_message": None,
    "error_message": None,
    "priority": 1,
    "retry_count": 0,
    "max_retries": 3,
    "interruptions": 0,
    "scheduled_at": None,
    "locked_at": None,
    "locked_by": None,
    "unique_key": None,
    "cancel_requested_at": None,
    "job_parameters": {"include_trashed": False, "custom_setting": "value"},
}

LIST: Json = {"jobs": [JOB], "next_cursor": "YmVmb3JlOjEyMw"}
DETAIL: Json = JOB | {"attempts": [], "more_attempts": False, "waits_for": ["ready; 0 jobs ahead of it"]}
PROCESSOR_CHANGE: Json = {"changed": True, "processor": PROCESSOR, "is_processor_running": True}
SEARCH: Json = {
    "results": [
        {
            "file_id": "notes/plan.md",
            "name": "plan.md",
            "path": "/notes/plan.md",
            "mime_type": "text/markdown",
            "modified_at": "2024-01-01T10:00:00Z",
            "snippet": "the plan for the second quarter",
        }
    ],
    "next_cursor": None,
}
