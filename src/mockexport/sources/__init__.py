"""The sources of exports: mock (made up in process), a folder, a server over HTTP, and the union of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.sources.files import FilesSource, is_pattern
    from mockexport.sources.folder import FolderSource
    from mockexport.sources.http import HttpSource
    from mockexport.sources.mock import (
        Generator,
        MockFhirSource,
        MockSource,
        ReferenceGenerator,
        choose_generator,
        generator_name,
    )
    from mockexport.sources.union import UnionSource

__all__ = [
    "FilesSource",
    "FolderSource",
    "Generator",
    "HttpSource",
    "MockFhirSource",
    "MockSource",
    "ReferenceGenerator",
    "UnionSource",
    "choose_generator",
    "generator_name",
    "is_pattern",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "files": ("FilesSource", "is_pattern"),
        "folder": ("FolderSource",),
        "http": ("HttpSource",),
        "mock": (
            "Generator",
            "MockFhirSource",
            "MockSource",
            "ReferenceGenerator",
            "choose_generator",
            "generator_name",
        ),
        "union": ("UnionSource",),
    },
)
