"""The made-up exports: their specification, the generators in plain Python and in C, and the Source of them."""

from mockexport.mock.reference import Generator, ReferenceGenerator
from mockexport.mock.source import MockSource

__all__ = ["Generator", "MockSource", "ReferenceGenerator"]
