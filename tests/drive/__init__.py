"""A server that speaks the reading part of Drive v3 over real HTTP on loopback, with a Drive in memory behind it.

Every answer and every parameter is checked against the discovery document in the client library's own wheel. Rules make it
misbehave: see `faults`. It knows nothing of the indexer.
"""

from .content import DOCUMENT, FOLDER, FORM, SHEET, SHORTCUT, Drive
from .faults import (
    Fault,
    Rule,
    broken_json,
    dropped,
    forbidden,
    forbidden_new_style,
    hanging,
    incomplete,
    invalid_grant,
    rate_limited,
    refused,
    repeated_token,
    truncated,
)
from .server import DriveServer

__all__ = [
    "DOCUMENT",
    "FOLDER",
    "FORM",
    "SHEET",
    "SHORTCUT",
    "Drive",
    "DriveServer",
    "Fault",
    "Rule",
    "broken_json",
    "dropped",
    "forbidden",
    "forbidden_new_style",
    "hanging",
    "incomplete",
    "invalid_grant",
    "rate_limited",
    "refused",
    "repeated_token",
    "truncated",
]
