"""Loading a configuration: find the file, lay the layers over each other, complain about everything at once."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from .fields import values
from .layers import PREFIX, make_absolute, over_file, working_directory
from .masking import is_secret, literal_password
from .problems import ConfigError, Problem, did_you_mean, in_order
from .reading import parse, read_text
from .settings import Settings
from .tree import DEFAULT, Branch, Kind, Leaf, Source, at, dotted, leaves
from .validation import validate

FILE_NAME = "jobqueue.yaml"
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used.

    `sources` says of every key of the settings, such as `retry.max` or `programs[0].name`, where its value came from;
    `path` is the absolute path of the file, `digest` a short one of its text as it was read; `warnings` are problems that do not
    prevent a start.
    """

    settings: Settings
    sources: Mapping[str, Source]
    path: Path
    digest: str
    warnings: tuple[Problem, ...] = ()

    def from_command_line(self) -> dict[str, str]:
        """What the command line set, as environment variables that set the same for another process."""
        found = {dotted(path): value for path, value, _ in values(self.settings)}
        given = [key for key, source in self.sources.items() if source.kind is Kind.COMMAND_LINE and "[" not in key]
        return {PREFIX + key.upper().replace(".", "__"): _as_text(found[key]) for key in given}


def find_config(explicit: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The file to load: the one named, else `$JOBQUEUE_CONFIG`, else `./jobqueue.yaml`.

    Raises `ConfigError`, saying where it looked, when there is none.
    """
    named = explicit or environment.get("JOBQUEUE_CONFIG")
    path = Path(named or FILE_NAME)
    if path.exists():
        return path
    hint = "name a file with -c, or write one with: supervisor init"
    if explicit:
        message = f"{path} does not exist"
    elif named:
        message = f"{path}, named by JOBQUEUE_CONFIG, does not exist"
    else:
        looked = working_directory() / path
        message = f"no configuration: looked for -c, for JOBQUEUE_CONFIG (not set), and for {looked}"
    raise ConfigError([Problem(None, "CFG-NOT-FOUND", message, hint)])


def default_text() -> str:
    """The configuration file that comes with this release: runs as it is, and explains itself."""
    packaged = files(__package__) / FILE_NAME
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / FILE_NAME).read_text(encoding="utf-8")


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] = NOTHING,
) -> Loaded:
    """Load the file at `path`, or the one that `find_config` finds; the environment wins over it, then `overrides`.

    `overrides` maps keys such as `workers.count` to values; None means not given.
    Raises `ConfigError` with everything that is wrong at once, warnings included.
    """
    path = path or find_config(None, environment)
    text = read_text(path)
    file, problems = parse(text, str(path), environment)
    unreadable = {problem.where for problem in problems}
    warnings = _warnings(file, path)
    tree = over_file(file, environment, overrides, problems)
    make_absolute(tree, path.absolute().parent)
    settings, invalid = validate(tree)
    problems += [problem for problem in invalid if problem.where not in unreadable]
    if problems or settings is None:
        raise ConfigError([*problems, *warnings])
    if not settings.job_types:
        message, hint = "no job type is declared: workers have nothing to do", "add job_types: {name: module:function}"
        warnings.append(Problem(None, "CFG-NO-JOB-TYPES", message, hint, "warning"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Loaded(settings, _sources(settings, tree), path.absolute(), digest, in_order(warnings))


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float | tuple) else str(value)


def _sources(settings: Settings, tree: Branch) -> Mapping[str, Source]:
    found: dict[str, Source] = {}
    for path, _, _ in values(settings):
        node, taken = at(tree, path)
        found[dotted(path)] = node.source if taken == len(path) else DEFAULT
    return MappingProxyType(found)


def _warnings(file: Branch, path: Path) -> list[Problem]:
    warnings = [
        Problem(
            leaf.source.place, "CFG-LITERAL-SECRET", f"{dotted(where)}: a password stands in the file",
            "write ${NAME} and set NAME in the environment", "warning",
        )
        for where, leaf in leaves(file)
        if _is_literal_secret([str(step) for step in where], leaf)
    ]
    return warnings + (_readable(path) if warnings else [])


def _is_literal_secret(path: list[str], leaf: Leaf) -> bool:
    if leaf.source.kind is not Kind.FILE or leaf.value is None or "${" in leaf.written:
        return False
    if literal_password(leaf.written):
        return True
    is_reference = leaf.written.startswith(("/", "./", "../", "~")) or isinstance(leaf.value, bool)
    return "settings" in path and any(is_secret(key) for key in path) and bool(leaf.written) and not is_reference


def _readable(path: Path) -> list[Problem]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:  # it was read a moment ago; whoever looks next says what became of it
        return []
    if mode & 0o077:
        message = f"{path} holds a password, and others can read it (mode {mode:04o})"
        return [Problem(None, "CFG-READABLE", message, f"chmod 600 {path}", "warning")]
    return []


def handler_problem(loaded: Loaded, job_type: str, message: str, candidates: Iterable[str] = ()) -> Problem:
    """The problem of a handler that cannot be imported, at its place in the file.

    `candidates` are the names that could have been meant, whole handlers or names inside the module.
    """
    handler = loaded.settings.job_types[job_type].handler
    key = f"job_types.{job_type}.handler"
    known = [*candidates]
    word = handler if any(":" in name for name in known) else handler.partition(":")[2]
    hint = did_you_mean(word, known) or "check the name, and that the supervisor's Python can import the module"
    return Problem(loaded.sources[key].place, "CFG-HANDLER", f"{key}: {handler}: {message}", hint)
