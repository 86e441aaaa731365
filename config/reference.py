"""Writes docs/configuration.md and docs/jobqueue.schema.json from the settings: `python -m config.reference [--check]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from . import CODES, schema
from .durations import format_duration
from .fields import Key, is_duration, keys, section_at
from .reloading import is_reloadable

DOCS = Path(__file__).parent.parent / "docs"
_DEFAULTS_BESIDE_FILE = {"database_url": "`sqlite:///jobqueue.db`, beside the file", "run_dir": "`.jobqueue`, beside the file"}
_KINDS = {
    "database_url": "database URL",
    "workers.process_ids": "list of names",
    "job_types.<name>.handler": "`module:function`",
    "job_types.<name>.lane": "template or `none`",
    "job_types.<name>.retry": "mapping",
    "programs[].settings": "mapping",
    "logging.file": "path or null",
    "encryption.key_file": "path or null",
    "run_dir": "path",
    "extensions": "list of modules",
}
_WORDS = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text", "null": "null"}
_BEGINNING = """\
# Configuration

One file, `jobqueue.yaml`, says everything that an operator can say; the one in the repository runs as it is.
This page is written from the settings themselves by `python -m config.reference`.

```
supervisor config check      every problem at once, with its place and a fix; exit code 78 if there is one
supervisor config show       every setting in force, and where it was written; secrets are masked
supervisor config schema     the JSON Schema, for editors
```

An editor that knows the YAML language server completes and checks the file while you type when it begins with
`# yaml-language-server: $schema=docs/jobqueue.schema.json`.

## Where a value comes from

The first of these that gives a value wins:

1. an option of the command line;
2. the environment: `DATABASE_URL` and `LOG_LEVEL`, then `JOBQUEUE__SECTION__KEY`, for example
   `JOBQUEUE__RETRY__MAX_RETRIES=5` or `JOBQUEUE__WORKERS__PROCESS_IDS=[a, b]`. A variable that is set but empty counts as
   not set. Mappings are merged key by key, lists replaced whole;
3. the file: the one named with `-c`, else by `$JOBQUEUE_CONFIG`, else `./jobqueue.yaml`;
4. the default.

## How values are written

- **Durations** are `250ms`, `30s`, `5m`, `1h30m`, `7d`, or bare seconds.
- **Paths** that are relative are relative to the file they stand in; those from the environment and the command line to
  the working directory. `~` is not replaced: write `${HOME}`.
- **`${VAR}`** inside a value is filled in from the environment; `${VAR:-default}` has a default, `${VAR:?message}` a reason
  to refuse without it, and `$$` is a dollar sign. What a variable contains can add no YAML.
- **Secrets** belong in the environment: `database_url: postgresql://app:${DATABASE_PASSWORD}@db/jobs`. A password in the file
  itself is a warning.
- **YAML** is read as version 1.2 has it: `on`, `no`, `0600` and `12:30` are text. Unknown keys, duplicate keys and unquoted
  `* * * * *` are refused. A setting at the top without a value (`retry:`) counts as not given.
- **Anchors**: keys at the top that begin with `x-` are yours, `<<: *name` merges a mapping. A file may have 1 MiB, 50,000 values
  and 32 levels, and its aliases may repeat 10,000 values.
- **Short forms**: `workers: 4` is `workers: {count: 4}`, and `job_types: {name: module:function}` is
  `job_types: {name: {handler: module:function}}`.

The last column says when a change takes effect: at a `reload` (`supervisor reload`, or SIGHUP) or a `restart`.
"""


def configuration_page() -> str:
    """The whole text of docs/configuration.md."""
    sections = [
        "\n".join(_section(name, [*group])) for name, group in groupby(keys(), key=lambda key: key.section)
    ]
    return "\n".join([_BEGINNING, *sections, *_codes()])


def schema_text() -> str:
    """The whole text of docs/jobqueue.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _section(name: str, its_keys: Sequence[Key]) -> Iterator[str]:
    yield f"## `{name}`\n" if name else "## At the top\n"
    section = section_at(_example(name))
    if name and section and section.__doc__:
        yield f"{_one_line(section.__doc__)}\n"
    yield "| Key | Type | Default | Meaning | Effect |"
    yield "|---|---|---|---|---|"
    for key in its_keys:
        effect = "reload" if is_reloadable(key.dotted) else "restart"
        cells = [f"`{key.name}`", _kind(key), _default(key), _one_line(key.field.description or ""), effect]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _example(name: str) -> tuple[str | int, ...]:
    return tuple(name.replace("[]", ".0").split(".")) if name else ()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _kind(key: Key) -> str:
    if is_duration(key.field):
        return "duration" + (" or null" if key.field.default is None else "")
    return _KINDS.get(key.dotted) or _in_words(_field_schema(key))


def _field_schema(key: Key) -> dict[str, Any]:
    section = section_at(_example(key.section))
    assert section is not None
    field: dict[str, Any] = section.model_json_schema()["properties"][key.name]
    return field


def _in_words(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    if "anyOf" in field:
        return " or ".join(_in_words(choice) for choice in field["anyOf"])
    if "minimum" in field and "maximum" in field and field["maximum"] <= 100_000:
        return f"{_WORDS[field['type']]}, {field['minimum']} to {field['maximum']}"
    return _WORDS[field["type"]]


def _default(key: Key) -> str:
    value = key.field.default
    if key.dotted in _DEFAULTS_BESIDE_FILE:
        return _DEFAULTS_BESIDE_FILE[key.dotted]
    if key.field.is_required():
        return "required"
    if key.dotted == "job_types.<name>.retry":
        return "`retry`"
    if is_duration(key.field) and value is not None:
        return f"`{format_duration(value)}`"
    return f"`{json.dumps(value).strip(chr(34))}`"


def _codes() -> Iterator[str]:
    yield "## Problems and their codes\n"
    yield "| Code | Meaning |"
    yield "|---|---|"
    for code, meaning in CODES.items():
        yield f"| `{code}` | {meaning} |"
    yield ""


def main(arguments: Sequence[str]) -> int:
    """Write both files; with `--check` only say which of them are not as they would be written, and return 1."""
    texts = {DOCS / "configuration.md": configuration_page(), DOCS / "jobqueue.schema.json": schema_text()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in arguments:
            print(f"docs/{path.name} is out of date: run python -m config.reference", file=sys.stderr)
        else:
            path.write_text(texts[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
