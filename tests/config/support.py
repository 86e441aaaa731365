"""What the tests of `config` share: writing a file, loading it, and reading what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config import ConfigError, Loaded, Problem, Settings, load, render
from config.loading import NOTHING

NO_ENVIRONMENT: Mapping[str, str] = {}


class Desk:
    """A folder with one jobqueue.yaml in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "jobqueue.yaml"

    def load(
        self,
        text: str | bytes,
        environment: Mapping[str, str] = NO_ENVIRONMENT,
        overrides: Mapping[str, object] = NOTHING,
    ) -> Loaded:
        """Write the text to the file and load it."""
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(self.path, environment=environment, overrides=overrides)

    def settings(self, text: str, environment: Mapping[str, str] = NO_ENVIRONMENT) -> Settings:
        """The settings of the text."""
        return self.load(text, environment).settings

    def problems(
        self,
        text: str | bytes,
        environment: Mapping[str, str] = NO_ENVIRONMENT,
        overrides: Mapping[str, object] = NOTHING,
    ) -> tuple[Problem, ...]:
        """What is wrong with the text; it is a failure when nothing is."""
        try:
            self.load(text, environment, overrides)
        except ConfigError as error:
            return error.problems
        raise AssertionError("it was accepted")

    def complaint(
        self,
        text: str | bytes,
        environment: Mapping[str, str] = NO_ENVIRONMENT,
        overrides: Mapping[str, object] = NOTHING,
    ) -> str:
        """What a user would read about the text, with the file called just jobqueue.yaml."""
        return render(self.problems(text, environment, overrides)).replace(f"{self.folder}/", "")

    def headlines(self, text: str | bytes, environment: Mapping[str, str] = NO_ENVIRONMENT) -> list[str]:
        """The first line of each complaint."""
        return [line for line in self.complaint(text, environment).splitlines() if "[CFG-" in line]
