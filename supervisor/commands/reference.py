"""Writes docs/commands.md from the tree of commands: `python -m supervisor.commands.reference [--check]`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from .checks import FINDINGS
from .problems import ERRORS, Exit
from .tree import app

TARGET = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
MEANINGS = {
    Exit.OK: "It worked; a job that was waited for completed.",
    Exit.FAILED: "It failed, or what was looked at is unhealthy; a job that was waited for failed.",
    Exit.USAGE: "The command line is wrong.",
    Exit.NOT_RUNNING: "No supervisor is running.",
    Exit.NOT_FOUND: "There is no such job, program, user, token or member.",
    Exit.REFUSED: "The state of things does not allow it; a job that was waited for was cancelled.",
    Exit.DATABASE_UNREACHABLE: "The database cannot be reached.",
    Exit.PERMISSION: "This user may not do that.",
    Exit.BAD_CONFIGURATION: "The configuration or the database's schema cannot be used.",
    Exit.INTERRUPTED: "Interrupted from the keyboard.",
}
HEAD = """# Commands

<!-- Written by `python -m supervisor.commands.reference`; change the commands, not this page. -->

`jobqueue` is another name of the same program. Data goes to the standard output, everything else to the standard error
output. In a pipe there is one fact a line, its words separated by tabs, without headings and never shortened; with
`--json` there is one JSON document. `--traceback` and `--no-color` may stand anywhere; `NO_COLOR` is respected.

## Exit codes

| Code | Meaning |
|---|---|
"""


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is up to date; returns the exit code."""
    text = page()
    if "--check" not in arguments:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is not what the commands say; run: python -m supervisor.commands.reference", file=sys.stderr)
    return 1


def page() -> str:
    """The whole page as Markdown."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    sections = "".join(_sections(typer.main.get_command(app), "supervisor"))
    return HEAD + codes + sections + _named("Findings of doctor", FINDINGS) + _named("Errors", ERRORS)


def _named(title: str, meanings: Mapping[str, str]) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in meanings.items())
    return f"\n## {title}\n\n| | |\n|---|---|\n{rows}"


def _sections(command: Any, path: str) -> Iterator[str]:
    members = getattr(command, "commands", None)
    if members is None:
        yield _section(command, path)
        return
    for name, member in members.items():
        yield from _sections(member, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    synopsis = " ".join([path, *(_in_synopsis(each) for each in _ordered(_shown(command)) if each.name != "help")])
    rows = "".join(_row(each) for each in _shown(command) if each.help)
    table = f"\n| | |\n|---|---|\n{rows}" if rows else ""
    return f"\n## {path}\n\n{inspect.cleandoc(command.help or '')}\n\n```\n{synopsis}\n```\n{table}"


def _shown(command: Any) -> list[Any]:
    return [each for each in command.params if not getattr(each, "hidden", False)]


def _ordered(parameters: list[Any]) -> list[Any]:
    return sorted(parameters, key=lambda each: (each.param_type_name != "argument", not each.required))


def _in_synopsis(parameter: Any) -> str:
    more = "..." if parameter.multiple else ""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    word = " ".join([parameter.opts[0], *_value(parameter)])
    return f"{word}{more}" if parameter.required else f"[{word}]{more}"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = str(parameter.metavar or parameter.name.upper()).strip("[]")
    else:
        names = ", ".join(" ".join([option, *_value(parameter)]) for option in parameter.opts)
    return f"| `{names}` | {_help(parameter)} |\n".replace("|json", "\\|json").replace("|console", "\\|console")


def _value(parameter: Any) -> list[str]:
    if parameter.is_flag:
        return []
    choices = parameter.type_descriptor.choices
    return ["|".join(map(str, choices))] if choices else [str(parameter.metavar or "VALUE")]


def _help(parameter: Any) -> str:
    text = re.sub(r"\s+", " ", parameter.help)
    default = parameter.default
    if isinstance(parameter.show_default, str):
        return f"{text} Default: {parameter.show_default}."
    if default is None or isinstance(default, bool | list | tuple) or callable(default):
        return text
    return f"{text} Default: `{default}`."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
