"""Finding the extension module, named in the configuration, that has what a command asks for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .problems import Exit, Problem


def extension_with(names: Sequence[str], function: str, what: str) -> Any:
    """The first extension module that has `function`. A problem when none has `what`, or one cannot be imported."""
    for name in names:
        try:
            module = import_module(name)
        except Exception as error:
            said = f"the extension {name} cannot be imported: {type(error).__name__}: {error}"
            raise Problem(
                "EXTENSION", said, "Correct extensions in the configuration.", Exit.BAD_CONFIGURATION
            ) from error
        if hasattr(module, function):
            return module
    said = f"no extension has {what}; extensions: {', '.join(names) or 'none'}"
    raise Problem("EXTENSION", said, "Add apps.extension to extensions in the configuration.", Exit.BAD_CONFIGURATION)
