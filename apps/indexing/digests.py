"""Digests of a file's content."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

BLOCK = 1 << 20


def digest_of(content: BinaryIO, algorithm: str = "sha256") -> str:
    """The digest of the whole content, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    content.seek(0)
    while block := content.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
