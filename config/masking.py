"""What must not be shown: passwords in URLs, and values whose key says that they are secret."""

from __future__ import annotations

import re

MASK = "***"
_SECRET_KEY = re.compile(r"password|passwd|token|secret|authorization|credential|api_?key|private_?key", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<before>://[^:/?#@\s]*:)(?P<secret>\S*)(?=@)")
_IN_QUERY = re.compile(
    rf"(?P<before>[?&][\w.-]*(?:{_SECRET_KEY.pattern})[\w.-]*=)(?P<secret>[^&\s'\"]+)", re.IGNORECASE
)
_AFTER_KEY = re.compile(
    rf"(?P<before>[\w.-]*(?:{_SECRET_KEY.pattern})[\w.-]*['\"]?\s*[:=]\s+)"
    r"(?P<secret>\"(?:[^\"\\]|\\.)*\"?|'[^']*'?|[^\s,{}\[\]#|>&*][^,{}\[\]#]*)",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(
    r"(?P<before>\bBearer\s+|\bAuthorization\W{1,6}\w+\s+)[\w.~+/=-]{8,}"
    r"|\bya29\.[\w.-]+|\b1//[\w-]{16,}|\bAIza[\w-]{30,}"
    r'|-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?=")|$)',
    re.IGNORECASE,
)


def is_secret(key: str) -> bool:
    """Whether a key of this name holds something that must not be shown."""
    return _SECRET_KEY.search(key.rsplit(".", 1)[-1]) is not None


def mask(text: str) -> str:
    """The text with the passwords of every URL in it replaced, in front of `@` and in query strings."""
    return _IN_QUERY.sub(rf"\g<before>{MASK}", _IN_URL.sub(rf"\g<before>{MASK}", text))


def mask_credentials(text: str) -> str:
    """The text without what looks like a credential wherever it stands: bearer tokens, Google's tokens, passwords in URLs."""
    return mask(_CREDENTIAL.sub(rf"\g<before>{MASK}", text))


def literal_password(url: str) -> str:
    """The password written in a URL, or an empty text when there is none."""
    found = _IN_URL.search(url) or _IN_QUERY.search(url)
    return found["secret"] if found else ""


def mask_line(line: str, column: int) -> tuple[str, int]:
    """A line of a file without its secrets, and where the letter at `column` (from 0) has moved to."""
    for pattern in (_IN_URL, _IN_QUERY, _AFTER_KEY):
        for found in reversed([*pattern.finditer(line)]):
            begin, end = found.span("secret")
            secret = line[begin:end].rstrip()
            end = begin + len(secret)
            line = line[:begin] + MASK + line[end:]
            column = column + len(MASK) - len(secret) if column >= end else min(column, begin + len(MASK))
    return line, column
