"""The made-up exports: their specification, the generators in plain Python and in C, and the Source of them."""

from mockexport.sources.mock.reference import Generator, ReferenceGenerator
from mockexport.sources.mock.source import MockSource

__all__ = ["Generator", "MockSource", "ReferenceGenerator"]
