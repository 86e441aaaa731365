"""The audit of what people changed: `record` writes an entry in the transaction of the change, `read` gives the newest first."""

from __future__ import annotations

from backends import AuditEntry, read_audit, record_audit

record = record_audit
read = read_audit

__all__ = ["AuditEntry", "read", "record"]
