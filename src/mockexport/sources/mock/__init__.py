"""The made-up exports: their specification, the generators in plain Python and in C, and the Source of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.sources.mock.fhir_source import MockFhirSource
    from mockexport.sources.mock.kernel import choose_generator, generator_name
    from mockexport.sources.mock.reference import Generator, ReferenceGenerator
    from mockexport.sources.mock.source import MockSource

__all__ = ["Generator", "MockFhirSource", "MockSource", "ReferenceGenerator", "choose_generator", "generator_name"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "fhir_source": ("MockFhirSource",),
        "kernel": ("choose_generator", "generator_name"),
        "reference": ("Generator", "ReferenceGenerator"),
        "source": ("MockSource",),
    },
)
