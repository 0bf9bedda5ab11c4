"""The sources of exports: mock (made up), a folder, an object store, a server, a union; and any of them as FHIR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.sources.data_files import is_data
    from mockexport.sources.fhir import FhirSource
    from mockexport.sources.fhir_view import AsFhir, as_fhir
    from mockexport.sources.files import FilesSource, is_pattern
    from mockexport.sources.folder import FolderSource
    from mockexport.sources.http import HttpSource
    from mockexport.sources.http_file import HttpFileSource
    from mockexport.sources.mock import (
        Generator,
        MockFhirSource,
        MockSource,
        ReferenceGenerator,
        choose_generator,
        generator_name,
    )
    from mockexport.sources.store import StoreSource
    from mockexport.sources.union import UnionSource

__all__ = [
    "AsFhir",
    "FhirSource",
    "FilesSource",
    "FolderSource",
    "Generator",
    "HttpFileSource",
    "HttpSource",
    "MockFhirSource",
    "MockSource",
    "ReferenceGenerator",
    "StoreSource",
    "UnionSource",
    "as_fhir",
    "choose_generator",
    "generator_name",
    "is_data",
    "is_pattern",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "fhir": ("FhirSource",),
        "data_files": ("is_data",),
        "files": ("FilesSource", "is_pattern"),
        "fhir_view": ("AsFhir", "as_fhir"),
        "folder": ("FolderSource",),
        "http": ("HttpSource",),
        "http_file": ("HttpFileSource",),
        "mock": (
            "Generator",
            "MockFhirSource",
            "MockSource",
            "ReferenceGenerator",
            "choose_generator",
            "generator_name",
        ),
        "store": ("StoreSource",),
        "union": ("UnionSource",),
    },
)
