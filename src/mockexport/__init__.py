"""List, count, fetch and verify bulk healthcare exports."""

from mockexport._version import __version__

__all__ = ["__version__"]
