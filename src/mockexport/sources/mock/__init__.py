"""The made-up exports: their specification, the generators in plain Python and in C, and the Source of them."""

from mockexport.sources.mock.kernel import choose_generator, generator_name
from mockexport.sources.mock.reference import Generator, ReferenceGenerator
from mockexport.sources.mock.source import MockSource

__all__ = ["Generator", "MockSource", "ReferenceGenerator", "choose_generator", "generator_name"]
