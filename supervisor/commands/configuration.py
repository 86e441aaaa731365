"""`init` and `config`: write a first file, find every mistake in one, show what is in force, and print its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import output
from .opening import load
from .options import AsJson, ConfigFile
from .problems import Exit, Problem

app = typer.Typer(name="config", help="Check, show and describe the configuration.", no_args_is_help=True)


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("jobqueue.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> int:
    """Write a configuration file that runs as it is."""
    from config import default_text

    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(default_text())
    except FileExistsError:
        raise Problem(
            "INIT-EXISTS", f"{file} exists already", "Write elsewhere, or overwrite it with --force.", Exit.REFUSED
        ) from None
    output.line("wrote", file)
    output.say(f"Next: supervisor start -c {file}")
    return Exit.OK


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Find every mistake in the configuration at once, and every handler that cannot be imported."""
    from config import ConfigError, render

    from .handlers import handler_problems

    try:
        loaded = load(config)
        problems = [*loaded.warnings, *handler_problems(loaded)]
    except ConfigError as error:
        problems = list(error.problems)
    wrong = any(problem.severity == "error" for problem in problems)
    if as_json:
        found = [
            {
                "id": each.code,
                "severity": each.severity,
                "where": str(each.where or ""),
                "what": each.message,
                "fix": each.hint,
            }
            for each in problems
        ]
        output.document({"ok": not wrong, "problems": found})
    else:
        if problems:
            output.say(render(problems, closing=""))
        if not wrong:
            output.line("ok", loaded.path)
    return Exit.BAD_CONFIGURATION if wrong else Exit.OK


@app.command()
def show(config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Show every setting in force and where its value was written; secrets are masked."""
    from config import show as shown_settings

    shown = shown_settings(load(config))
    if as_json:
        output.document([{"key": each.key, "value": each.value, "source": each.source} for each in shown])
    else:
        output.table(
            ("setting", "value", "source"), [(each.key, json.dumps(each.value), each.source) for each in shown]
        )
    return Exit.OK


@app.command()
def schema(
    target: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
) -> int:
    """Print the JSON Schema of the configuration file, for editors."""
    from config import schema as schema_of_settings

    text = json.dumps(schema_of_settings(), indent=2, ensure_ascii=False)
    if target:
        target.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return Exit.OK
