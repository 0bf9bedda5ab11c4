"""Faults on request (docs/faults.md): what they are (`spec`), and how a response goes wrong (`inject`)."""

from mockexport.server.faults.spec import Faults, read_faults

__all__ = [
    "Faults",
    "read_faults",
]
