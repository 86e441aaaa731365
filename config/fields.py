"""Walking over the settings: the section at a path, every value that is set, every key that exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from .settings import Section, Settings
from .tree import Path


class Key(NamedTuple):
    """A key that exists: its section as written in the documentation (`job_types.<name>`), its name and its field."""

    section: str
    name: str
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """The whole key, such as `job_types.<name>.handler`."""
        return f"{self.section}.{self.name}".removeprefix(".")


def section_at(path: Path) -> type[Section] | None:
    """The section whose keys stand under `path`; None where keys are free or nothing of ours is."""
    section: type[Section] | None = Settings
    steps = iter(path)
    for step in steps:
        field = section.model_fields.get(str(step)) if section else None
        section = _section_in(field.annotation) if field else None
        if field and section and not _is_section(field.annotation):
            next(steps, None)
    return section


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that an annotation names, directly, as the value of a dict, or as the item of a tuple."""
    if _is_section(annotation):
        return annotation  # type: ignore[no-any-return]
    return next((section for part in get_args(annotation) if (section := _section_in(part))), None)


def values(section: BaseModel, path: Path = ()) -> Iterator[tuple[Path, Any, FieldInfo]]:
    """Every value of the settings with its path and field; free mappings and lists of sections are entered."""
    for name, field in type(section).model_fields.items():
        yield from _values_of(getattr(section, name), (*path, name), field)


def _values_of(value: Any, path: Path, field: FieldInfo) -> Iterator[tuple[Path, Any, FieldInfo]]:
    if isinstance(value, BaseModel):
        yield from values(value, path)
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _values_of(item, (*path, key), field)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, item in enumerate(value):
            yield from values(item, (*path, index))
    else:
        yield path, value, field


def keys(section: type[Section] = Settings, name: str = "") -> Iterator[Key]:
    """Every key that exists, section by section; the retry rules of a job type count as one."""
    inner: list[tuple[type[Section], str]] = []
    for key, field in section.model_fields.items():
        below = _section_in(field.annotation)
        if below is None or name.startswith("job_types"):
            yield Key(name, key, field)
        else:
            inner.append((below, f"{name}.{key}".removeprefix(".") + _plural(field.annotation)))
    for below, below_name in inner:
        yield from keys(below, below_name)


def _plural(annotation: Any) -> str:
    if _is_section(annotation):
        return ""
    return ".<name>" if annotation.__origin__ is dict else "[]"


def is_duration(field: FieldInfo) -> bool:
    """Whether a field holds seconds that are shown and written as a duration."""
    return any(_marks_duration(marker) for marker in [*field.metadata, *_markers(field.annotation)])


def _markers(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        yield from getattr(part, "__metadata__", ())


def _marks_duration(marker: Any) -> bool:
    return isinstance(marker, WithJsonSchema) and bool(marker.json_schema and "x-duration" in marker.json_schema)
