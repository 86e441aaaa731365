"""The OpenAPI document says what the API does, with examples that hold, and its page needs nobody but this machine."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from pydantic import BaseModel

from apps.api import make_api
from apps.http import docs, given, models
from apps.http.services import Services
from tests.apps.http.conftest import Served

DOCUMENT: dict[str, Any] = make_api(Services()).openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
JOB_ROUTES = [name for name in OPERATIONS if "job" in name or "indexing" in name]


def has_example(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel) and "json_schema_extra" in kind.model_config


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if "examples" in schema])
def test_every_example_is_valid_against_its_own_schema(name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    for example in SCHEMAS[name]["examples"]:
        Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("kind", [*filter(has_example, [*vars(models).values(), *vars(given).values()])])
def test_every_example_is_taken_by_its_model(kind: Any) -> None:
    for example in kind.model_config["json_schema_extra"]["examples"]:
        kind.model_validate(example)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_and_every_body_has_an_example(name: str) -> None:
    operation = OPERATIONS[name]
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    good = [answer for status, answer in operation["responses"].items() if status in ("200", "201", "202")]
    for place in bodies + good:
        for content in place["content"].values():
            assert "examples" in SCHEMAS[re.findall(r"\w+$", str(content["schema"]["$ref"]))[0]], name


@pytest.mark.parametrize("name", JOB_ROUTES)
def test_every_route_tells_how_it_refuses(name: str) -> None:
    responses = OPERATIONS[name]["responses"]
    assert {"401", "403", "408", "413", "422", "429", "500", "503"} <= set(responses)
    assert ("{" in name) == ("404" in responses) or name == "POST /job-queue/jobs"
    for status, answer in responses.items():
        if status >= "400":
            assert list(answer["content"]) == ["application/problem+json"], status
    assert OPERATIONS[name]["security"] == [{"token": []}]
    assert OPERATIONS[name]["description"]


def test_every_endpoint_that_was_promised_is_there() -> None:
    assert set(OPERATIONS) >= {
        "GET /job-queue/status",
        "GET /job-queue/jobs/{program_id}",
        "POST /job-queue/jobs/{job_id}/cancel",
        "POST /job-queue/start-processor",
        "POST /job-queue/stop-processor",
        "POST /indexing/reset-stuck-jobs/{program_id}",
        "POST /job-queue/jobs",
        "GET /job-queue/jobs/{program_id}/{job_id}",
        "POST /job-queue/jobs/{job_id}/retry",
        "GET /indexing/search/{program_id}",
        "GET /livez",
        "GET /readyz",
    }


def test_the_page_of_the_documentation_needs_nobody_else(steady: Served) -> None:
    page = steady.client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for place in loaded:
        assert place.startswith("/")
        assert steady.client.get(place).status_code == 200, place
    assert "://" not in page.text + steady.client.get("/docs/start.js").text
    assert steady.client.get("/docs/other.js").status_code == 404
    assert steady.client.get("/redoc").status_code == 404


@pytest.mark.parametrize("name", docs.PUBLISHED)
def test_what_the_page_loads_are_the_published_files_of_swagger_ui(name: str) -> None:
    assert docs.published(name).stat().st_size > 100_000
