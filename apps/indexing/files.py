"""The step for one file: is it as it was? If not, read it, and commit what came of it in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from workers import JobContext

from . import rows
from .digests import digest_of
from .extract import VERSION, Extractor
from .kinds import Damaged, NoText, not_worth_reading
from .rows import FAILED, INDEXED, REMOVED, SKIPPED, Content, Known
from .source import (
    CoolDown,
    Entry,
    FileGone,
    FileSkipped,
    FileUnavailable,
    Source,
    SourceError,
    Stopped,
)
from .tally import Tally
from .text import storable
from .words import words_of

AT_ONCE = 100
"""Files that share a transaction because nothing had to be read for them."""

REMOTE_FAILURES = 20
"""Files in a row that the source's own trouble kept from being read, after which the whole source is taken to be in trouble."""

PAUSE = 300.0
"""Seconds that a source in trouble is left alone."""


Write = Callable[[Connection], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file: its status, and how that is written down."""

    status: str
    write: Write
    remote: bool = False


class Files:
    """Takes the files that a source shows, and keeps `indexed_files` and the job's progress in step with them."""

    def __init__(self, ctx: JobContext, source: Source, extractor: Extractor, tally: Tally) -> None:
        self._ctx, self._source, self._extractor, self._tally = ctx, source, extractor, tally
        self._program_id, self._job_id = ctx.job.program_id, ctx.job.id
        self._unchanged: list[int] = []
        self._unread: list[tuple[Entry, Write]] = []
        self._remote_failures = 0

    def take(self, entries: Iterable[Entry], *, once: bool) -> None:
        """Bring the rows of these files up to date. With `once`, files that this job saw already are passed over.

        Raises `Stopped` between two files, `CoolDown` and `SourceUnusable`; all that was finished by then is committed.
        """
        listed = {storable(entry.file_id): entry for entry in entries}
        with self._ctx.transaction() as connection:
            known = rows.known(connection, self._program_id, list(listed))
        if once:
            listed = {key: each for key, each in listed.items() if not self._is_seen(known.get(key))}
        self._tally.found += len(listed)
        try:
            for key, entry in listed.items():
                if self._ctx.should_stop():
                    raise Stopped
                self._take_one(entry, known.get(key))
        finally:
            self._write_unread()

    def _is_seen(self, row: Known | None) -> bool:
        return row is not None and row.last_seen_job == self._job_id and row.status != REMOVED

    def _take_one(self, entry: Entry, row: Known | None) -> None:
        reason = self._reason_to_skip(entry)
        if row is not None and _is_unchanged(entry, row, reason):
            if _is_shown(entry, row):
                self._unchanged.append(row.id)
            else:
                self._unread.append((entry, lambda connection: rows.describe(connection, self._job_id, row, entry)))
            status = row.status
        elif reason:
            status = SKIPPED
            self._unread.append((entry, self._saving(entry, rows.without_content(SKIPPED, reason))))
        else:
            status = self._read_and_write(entry, row)
        self._tally.count(status)
        self._report()

    def _reason_to_skip(self, entry: Entry) -> str | None:
        largest = self._extractor.limits.largest_file
        if entry.size is not None and entry.size > largest and not entry.skip_reason:
            return f"larger than {largest:,} bytes"
        return entry.skip_reason or not_worth_reading(entry.mime_type)

    def _report(self) -> None:
        tally = self._tally
        if len(self._unchanged) + len(self._unread) >= AT_ONCE:
            self._write_unread()
        self._ctx.progress(
            tally.processed, tally.total, tally.sentence(), successful=tally.successful, failed=tally.failed
        )

    def _write_unread(self) -> None:
        """What needed no reading, in one transaction; one by one if the database refuses any of it."""
        unchanged, self._unchanged = self._unchanged, []
        unread, self._unread = self._unread, []
        if not unchanged and not unread:
            return
        try:
            with self._ctx.transaction() as connection:
                rows.touch(connection, self._job_id, unchanged)
                for _, write in unread:
                    write(connection)
        except DBAPIError:
            with self._ctx.transaction() as connection:
                rows.touch(connection, self._job_id, unchanged)
            for entry, write in unread:
                self._write(entry, write)

    # Reading one file

    def _read_and_write(self, entry: Entry, row: Known | None) -> str:
        result = self._read(entry, row)
        self._tally.read += result.status == INDEXED
        status = result.status if self._write(entry, result.write) else FAILED
        self._remote_failures = self._remote_failures + 1 if result.remote else 0
        if self._remote_failures >= REMOTE_FAILURES:
            raise CoolDown(PAUSE, f"{REMOTE_FAILURES} files in a row could not be read, the last one {entry.path!r}")
        return status

    def _read(self, entry: Entry, row: Known | None) -> Result:
        """Whatever goes wrong with one file stays with that file."""
        try:
            return self._content(entry, row)
        except FileGone as error:
            return Result(REMOVED, self._removing(row, str(error)))
        except FileSkipped as error:
            return self._nothing(entry, SKIPPED, str(error), for_good=error.for_good)
        except FileUnavailable as error:
            return self._unavailable(entry, row, error)
        except NoText as error:
            return self._nothing(entry, FAILED if isinstance(error, Damaged) else SKIPPED, str(error), for_good=True)
        except (SourceError, Stopped):
            raise
        except Exception as error:
            self._ctx.log.warning("file.failed", file_id=entry.file_id, path=entry.path, reason=repr(error))
            return self._nothing(entry, FAILED, f"reading it failed: {type(error).__name__}: {error}", for_good=False)

    def _content(self, entry: Entry, row: Known | None) -> Result:
        with TemporaryFile(prefix="jobqueue-") as file:
            mime_type = self._source.fetch(entry, file, self._ctx.should_stop)
            digest = digest_of(file)
            fingerprint = marked(entry.fingerprint)
            if row is not None and _has_this_content(row, digest):
                return Result(INDEXED, lambda connection: self._redescribe(connection, row, entry, fingerprint))
            found = self._extractor.extract(file, entry.name, mime_type, self._ctx.should_stop)
        values = rows.with_content(digest, fingerprint, found.remark or entry.remark)
        content = Content(found.text, found.truncated, words_of(found.text))
        return Result(INDEXED, self._saving(entry, values, content))

    def _redescribe(self, connection: Connection, row: Known, entry: Entry, fingerprint: str) -> None:
        rows.describe(connection, self._job_id, row, entry, fingerprint=fingerprint)

    def _unavailable(self, entry: Entry, row: Known | None, error: FileUnavailable) -> Result:
        """Not to be had now. The text of an earlier time is kept if the file itself is not known to have changed hands."""
        if row is None or not error.remote:
            result = self._nothing(entry, FAILED, str(error), for_good=False)
            return Result(FAILED, result.write, error.remote)
        values = {"status": FAILED, "reason": storable(str(error)), "fingerprint": None}
        return Result(FAILED, lambda connection: rows.describe(connection, self._job_id, row, entry, **values), True)

    def _nothing(self, entry: Entry, status: str, reason: str, *, for_good: bool) -> Result:
        fingerprint = marked(entry.fingerprint) if for_good and entry.fingerprint else None
        return Result(status, self._saving(entry, rows.without_content(status, reason, fingerprint)))

    # Writing

    def _saving(self, entry: Entry, values: dict[str, Any], content: Content | None = None) -> Write:
        return lambda connection: rows.save(connection, self._program_id, self._job_id, entry, values, content)

    def _removing(self, row: Known | None, reason: str) -> Write:
        def write(connection: Connection) -> None:
            if row is not None:
                self._tally.removed += rows.remove(connection, [row.id], reason)

        return write

    def _write(self, entry: Entry, write: Write) -> bool:
        """One fenced transaction. False for a file that the database refuses, of which only the refusal is kept."""
        try:
            with self._ctx.transaction() as connection:
                write(connection)
            return True
        except DBAPIError as error:
            reason = f"the database refuses it: {str(error.orig).splitlines()[0]}"
        self._ctx.log.warning("file.refused", file_id=entry.file_id, path=entry.path, reason=reason)
        try:
            with self._ctx.transaction() as connection:
                self._saving(entry, rows.without_content(FAILED, reason))(connection)
        except DBAPIError:
            self._ctx.log.warning("file.not_recorded", file_id=entry.file_id, path=entry.path)
        return False


def marked(fingerprint: str | None) -> str:
    """A fingerprint as it is stored: with the version of the extraction, which must be the same too."""
    return f"{VERSION}:{fingerprint or '?'}"


def _is_unchanged(entry: Entry, row: Known, reason: str | None) -> bool:
    if reason:
        return row.status == SKIPPED and row.reason == storable(reason)
    return entry.fingerprint is not None and row.fingerprint == marked(entry.fingerprint) and row.status != REMOVED


def _is_shown(entry: Entry, row: Known) -> bool:
    return all(getattr(row, column) == value for column, value in rows.shown(entry).items())


def _has_this_content(row: Known, digest: str) -> bool:
    same_version = (row.fingerprint or "").startswith(f"{VERSION}:")
    return row.status == INDEXED and row.content_hash == digest and same_version
