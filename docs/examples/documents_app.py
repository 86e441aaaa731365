"""An application with models of its own that embeds the job queue: people add collections of documents, jobs index them.

    export JOBQUEUE_CONFIG=$PWD/jobqueue.yaml      # the database, which is this application's too, and the handlers
    python -m uvicorn documents_app:app --app-dir docs/examples --port 8080
    curl localhost:8080/collections --json '{"name": "Documentation", "folder": "docs"}'
    curl localhost:8080/collections/1
    curl 'localhost:8080/collections/1/search?q=lease'

The job processor starts and stops with the application. An application that leaves this to others, such as `supervisor start`,
drops `JobQueueProcessor` and keeps the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from apps.indexing_service import IndexingService
from apps.processor import JobQueueProcessor
from apps.programs import add_program
from apps.search import BadQuery
from backends import open_engine, upgrade
from config import find_config, load

settings = load(find_config(None)).settings
engine = open_engine(settings.database_url, pool_size=10, key_file=settings.encryption.key_file)


class Base(DeclarativeBase):
    """The application's own tables; the queue's are not among them."""


class Collection(Base):
    """A folder of documents. Its program is what the queue knows of it."""

    __tablename__ = "collections"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    program_id: Mapped[int]


class NewCollection(BaseModel):
    name: str
    folder: str


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    upgrade(engine)
    Base.metadata.create_all(engine)
    with JobQueueProcessor():
        yield
    engine.dispose()


app = FastAPI(title="Documents", lifespan=life)


def writing() -> Iterator[Session]:
    """On SQLite its transaction is the only one that writes: endpoints commit as soon as they can."""
    with Session(engine, expire_on_commit=False) as db:
        yield db


def reading() -> Iterator[Session]:
    """Waits for nobody, and keeps nobody waiting."""
    with Session(engine.execution_options(jobqueue_read=True)) as db:
        yield db


@app.post("/collections", status_code=201)
def create(new: NewCollection, db: Annotated[Session, Depends(writing)], check: bool = False) -> dict[str, Any]:
    """Collection, program and job are there together, or not at all: when the name is taken, or it was only a `check`."""
    program_id = add_program(db.connection(), new.name, "local", str(Path(new.folder).absolute()))
    collection = Collection(name=new.name, program_id=program_id)
    db.add(collection)
    try:
        job = IndexingService(db).create_indexing_job(program_id=program_id, job_type="full_scan", priority=1)
    except IntegrityError:
        raise HTTPException(409, f"there is a collection {new.name!r} already") from None
    answer = {"id": collection.id, "job_id": job.id, "status": job.status}
    if check:
        db.rollback()
    else:
        db.commit()
    return answer


@app.get("/collections/{collection_id}")
def show(collection_id: int, db: Annotated[Session, Depends(reading)]) -> dict[str, Any]:
    """The collection, and what its last job is about."""
    collection = known(db, collection_id)
    newest = IndexingService(db).get_program_jobs(collection.program_id, limit=1)
    jobs = [{"id": job.id, "status": job.status, "successful_files": job.successful_files} for job in newest]
    return {"name": collection.name, "jobs": jobs}


@app.get("/collections/{collection_id}/search")
def search(collection_id: int, q: str, db: Annotated[Session, Depends(reading)]) -> list[dict[str, Any]]:
    """The documents with all these words."""
    try:
        page = IndexingService(db).search_files(known(db, collection_id).program_id, q)
    except BadQuery as error:
        raise HTTPException(422, str(error)) from None
    return [{"path": found.path, "snippet": found.snippet} for found in page.results]


@app.get("/queue")
def queue(db: Annotated[Session, Depends(reading)]) -> dict[str, Any]:
    """How the queue is, for all programs."""
    return IndexingService(db).get_queue_status()


def known(db: Session, collection_id: int) -> Collection:
    """The collection of that id, or the answer that there is none."""
    found = db.get(Collection, collection_id)
    if found is None:
        raise HTTPException(404, f"there is no collection {collection_id}")
    return found
