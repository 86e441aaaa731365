"""The layers of a configuration, file, environment and command line, laid over each other and made uniform."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath

from .problems import ConfigError, Place, Problem
from .reading import parse_value
from .tree import COMMAND_LINE, DEFAULT, Branch, Kind, Leaf, Path, Source, Tree, from_python, overlay

PREFIX = "JOBQUEUE__"
NAMED_BY_SPECIFICATION = {"DATABASE_URL": ("database_url",), "LOG_LEVEL": ("logging", "level")}
_DEFAULT_URL = "sqlite:///jobqueue.db"
_DEFAULT_RUN_DIR = ".jobqueue"
_SQLITE = "sqlite:///"


def over_file(
    file: Branch, environment: Mapping[str, str], overrides: Mapping[str, object], problems: list[Problem]
) -> Branch:
    """The file's tree with the environment and the command line laid over it; `problems` gets what cannot be read.

    Short forms are written out, and the retry rules of each job type completed from the general ones.
    """
    tree = _written_out(file)
    for path, value in [*_from_environment(environment, tree, problems), *_from_command_line(overrides)]:
        layer = overlay(tree, _written_out(_single(path, value)))
        assert isinstance(layer, Branch)
        tree = layer
    _drop_nulls(tree)
    _inherit_retry(tree)
    return tree


def _from_environment(
    environment: Mapping[str, str], below: Branch, problems: list[Problem]
) -> Iterable[tuple[Path, Tree]]:
    """Empty variables count as not set. The two names of the specification win over `JOBQUEUE__...`."""
    for name in sorted(name for name in environment if name.startswith(PREFIX) and environment[name]):
        try:
            value = parse_value(environment[name], _environment_source(name))
        except ConfigError as error:
            problems += error.problems
        else:
            yield _as_spelled(name.removeprefix(PREFIX).split("__"), below), value
    for name, path in NAMED_BY_SPECIFICATION.items():
        if text := environment.get(name):
            yield path, Leaf(text, _environment_source(name), text)


def _environment_source(name: str) -> Source:
    return Source(Kind.ENVIRONMENT, Place(f"environment {name}"))


def _as_spelled(words: list[str], below: Branch) -> Path:
    """The words in lower case, or as the file spells a key that differs only in case."""
    path: list[str] = []
    tree: Tree | None = below
    for word in words:
        known = tree.entries if isinstance(tree, Branch) else {}
        key = next((key for key in known if key.lower() == word.lower()), word.lower())
        path.append(key)
        tree = known.get(key)
    return tuple(path)


def _from_command_line(overrides: Mapping[str, object]) -> Iterable[tuple[Path, Tree]]:
    for key, value in overrides.items():
        if value is not None:
            yield tuple(key.split(".")), from_python(value, COMMAND_LINE)


def _single(path: Path, value: Tree) -> Branch:
    for key in reversed(path):
        branch = Branch(value.source)
        branch.put(str(key), value.source, value)
        value = branch
    assert isinstance(value, Branch)
    return value


def _written_out(tree: Branch) -> Branch:
    workers, job_types = tree.entries.get("workers"), tree.entries.get("job_types")
    if isinstance(workers, Leaf) and workers.value is not None:
        tree.entries["workers"] = _single(("count",), workers)
    if isinstance(job_types, Branch):
        for name, job_type in job_types.entries.items():
            if isinstance(job_type, Leaf):
                job_types.entries[name] = _single(("handler",), job_type)
    return tree


def _drop_nulls(tree: Branch) -> None:
    """A setting or section at the top without a value counts as not given."""
    for key in [key for key, value in tree.entries.items() if isinstance(value, Leaf) and value.value is None]:
        del tree.entries[key]


def _inherit_retry(tree: Branch) -> None:
    general, job_types = tree.entries.get("retry"), tree.entries.get("job_types")
    if not isinstance(general, Branch) or not isinstance(job_types, Branch):
        return
    for job_type in job_types.entries.values():
        if isinstance(job_type, Branch):
            own = job_type.entries.get("retry", general)
            own = general if isinstance(own, Leaf) and own.value is None else own
            job_type.put("retry", job_type.keys.get("retry", tree.keys["retry"]), overlay(general, own))


def make_absolute(tree: Branch, beside: FilePath) -> None:
    """Make every path absolute: those of the file and the defaults from `beside`, others from the working directory."""
    for branch, key in _paths(tree):
        leaf = branch.entries[key]
        if isinstance(leaf, Leaf) and isinstance(leaf.value, str):
            base = beside if leaf.source.kind in (Kind.FILE, Kind.DEFAULT) else None
            branch.entries[key] = Leaf(_absolute(leaf.value, base), leaf.source, leaf.written)


def _paths(tree: Branch) -> Iterable[tuple[Branch, str]]:
    for key, default in (("database_url", _DEFAULT_URL), ("run_dir", _DEFAULT_RUN_DIR)):
        if key not in tree.entries:
            tree.put(key, DEFAULT, Leaf(default, DEFAULT, default))
        yield tree, key
    for name, key in (("logging", "file"), ("encryption", "key_file")):
        section = tree.entries.get(name)
        if isinstance(section, Branch) and key in section.entries:
            yield section, key
    programs = tree.entries.get("programs")
    for program in getattr(programs, "items", ()):
        if isinstance(program, Branch):
            yield from _paths_of_program(program)


def _paths_of_program(program: Branch) -> Iterable[tuple[Branch, str]]:
    source, settings = program.entries.get("source"), program.entries.get("settings")
    is_local = source is None or (isinstance(source, Leaf) and source.value == "local")
    if is_local and "folder" in program.entries:
        yield program, "folder"
    if isinstance(settings, Branch):
        for key, value in settings.entries.items():
            if isinstance(value, Leaf) and str(value.value).startswith(("./", "../")):
                yield settings, key


def _absolute(text: str, base: FilePath | None) -> str:
    """The text with its path made absolute from `base`, or from the working directory."""
    if text.startswith(_SQLITE):
        path, question, query = text.removeprefix(_SQLITE).partition("?")
        is_file = path and path != "/" and not path.startswith((":memory:", "file:", "~"))
        return f"{_SQLITE}{_absolute_path(path, base)}{question}{query}" if is_file else text
    return text if "://" in text else _absolute_path(text, base)


def _absolute_path(path: str, base: FilePath | None) -> str:
    if not path or path.startswith("~") or "\0" in path:
        return path
    return os.path.normpath(path if os.path.isabs(path) else (base or working_directory()) / path)


def working_directory() -> FilePath:
    """The working directory. Raises `ConfigError` when somebody removed it."""
    try:
        return FilePath.cwd()
    except FileNotFoundError:
        hint = "change to one that does, or write absolute paths"
        raise ConfigError([Problem(None, "CFG-NO-DIRECTORY", "the working directory does not exist any more", hint)]) from None
