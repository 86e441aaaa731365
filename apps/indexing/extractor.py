"""The extraction child: takes one document after the other from its worker, and answers with text.

Run as `python -m apps.indexing.extractor`. Its standard input is a Unix socket. A request is a line of JSON with a file
descriptor attached; an answer is eight bytes of length and that much JSON. It ends with the socket, or with its worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import socket
from typing import Any, BinaryIO

from .docx import text_of_docx
from .html import text_of_html
from .kinds import Damaged, Kind, NoText
from .pdf import text_of_pdf
from .text import storable

PR_SET_PDEATHSIG = 1
REQUEST = 4096


def main() -> None:
    """Serve until the other end of the socket is closed."""
    die_with_the_worker()
    with socket.socket(fileno=0) as worker:
        while True:
            data, descriptors, _, _ = socket.recv_fds(worker, REQUEST, 1)
            if not data:
                return
            with os.fdopen(descriptors[0], "rb") as content:
                answer = json.dumps(answer_to(json.loads(data), content)).encode()
            worker.sendall(len(answer).to_bytes(8, "big") + answer)


def die_with_the_worker() -> None:
    """Be killed when the worker dies, whatever this process is doing. A drain's signals are the worker's affair."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)


def answer_to(request: dict[str, Any], content: BinaryIO) -> dict[str, Any]:
    """The text of one document, or why there is none. `request`: `kind`, `most` characters, `memory` bytes, `cpu` seconds."""
    limit(request["memory"], request["cpu"])
    content.seek(0)
    try:
        text, truncated, remark = extract(Kind(request["kind"]), content, request["most"])
    except NoText as error:
        return {"no_text": storable(str(error)), "damaged": isinstance(error, Damaged)}
    except MemoryError:
        return {"no_text": f"reading it takes more than {request['memory']:,} bytes of memory", "damaged": True}
    except Exception as error:
        return {"no_text": storable(f"it cannot be read: {type(error).__name__}: {error}"[:300]), "damaged": True}
    return {"text": storable(text), "truncated": truncated, "remark": remark}


def extract(kind: Kind, content: BinaryIO, most: int) -> tuple[str, bool, str | None]:
    """Up to `most` characters of text, whether there was more, and a remark for people. Raises `NoText`, and whatever breaks."""
    if kind is Kind.PDF:
        return text_of_pdf(content, most)
    reader = text_of_docx if kind is Kind.DOCX else text_of_html
    return (*reader(content, most), None)


def limit(memory: int, cpu: float) -> None:
    """Limit this process for the next document. The kernel counts CPU time from its start, so the limit moves along."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    seconds = int(used.ru_utime + used.ru_stime + cpu) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
