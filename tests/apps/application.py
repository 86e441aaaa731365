"""An application that embeds the queue: its own models in the queue's database, and a Session of its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, ForeignKey, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from apps.indexing_service import IndexingService
from backends import IndexingJob


class Base(DeclarativeBase):
    """The application's own, which knows nothing of the queue."""


class Team(Base):
    """Something of the application's."""

    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Project(Base):
    """Something that remembers a job."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"))
    job_id: Mapped[int | None]


def jobs_in(engine: Engine) -> int:
    """How many jobs others see."""
    with engine.execution_options(jobqueue_read=True).connect() as connection:
        return connection.scalar(select(func.count()).select_from(IndexingJob)) or 0


def create(db: Session, **values: Any) -> IndexingJob:
    """Create a job through the service."""
    return IndexingService(db).create_indexing_job(**{"program_id": 1, "user_id": 1, "job_type": "full_scan", **values})
