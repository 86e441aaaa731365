"""What requests hold: what is not known is refused, and nothing is converted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from backends import Status

from ..search import LONGEST_QUERY
from . import examples
from .examples import example
from .kinds import GivenInstant, Small, Text, written_plainly

LIST_AT_MOST = 100

Limit = Annotated[int, BeforeValidator(written_plainly), Field(ge=1, le=LIST_AT_MOST)]
"""How many rows a page may have."""


MOST_KEYS = 100
"""Keys that are looked at; each that nobody knows makes a mistake, which takes longer to word than to send."""


class Given(BaseModel):
    """A request: keys that nobody knows are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _with_few_keys(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > MOST_KEYS:
            raise ValueError(f"has more than {MOST_KEYS} keys")
        return given


class Because(Given):
    """Why somebody does this; it goes into the audit."""

    model_config = example({"reason": "started by mistake"})

    reason: Annotated[Text, Field(max_length=2_000)] | None = None


UNSAID = Because()
"""No body at all."""


class JobRequest(Given):
    """A job to add. `user_id` is the caller's; an administrator may name another, or none with null."""

    model_config = example(examples.REQUEST)

    program_id: Small
    job_type: Annotated[Text, Field(min_length=1, max_length=500)]
    folder_id: Annotated[Text, Field(max_length=10_000)] | None = None
    user_id: Small | None = None
    priority: Small = 0
    max_retries: Annotated[int, Field(ge=0, le=1_000)] | None = None
    scheduled_at: GivenInstant | None = None
    unique_key: Annotated[Text, Field(min_length=1, max_length=500)] | None = None
    job_parameters: dict[str, Any] = Field(default_factory=dict)
    reason: Annotated[Text, Field(max_length=2_000)] | None = None


class JobFilter(Given):
    """Which jobs of a program, and how many."""

    model_config = ConfigDict(strict=False)

    limit: Limit = 20
    cursor: Annotated[Text, Field(max_length=100)] | None = None
    status: Status | None = None
    job_type: Annotated[Text, Field(max_length=500)] | None = None


class SearchQuery(Given):
    """What is sought in a program's files."""

    model_config = ConfigDict(strict=False)

    q: Annotated[Text, Field(min_length=1, max_length=LONGEST_QUERY)]
    limit: Limit = 20
    cursor: Annotated[Text, Field(max_length=100)] | None = None
