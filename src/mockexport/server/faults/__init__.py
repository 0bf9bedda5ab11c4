"""Faults on request (docs/faults.md): the rules (`spec`), and how they change a response (`inject`)."""

from mockexport.server.faults.inject import Faults
from mockexport.server.faults.spec import read_faults

__all__ = ["Faults", "read_faults"]
