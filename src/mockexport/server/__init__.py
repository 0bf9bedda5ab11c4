"""Any Source over HTTP (docs/wire.md). Importing it without the extra [server] raises UsageError."""

from mockexport.errors import UsageError

try:
    from mockexport.server.app import create_app
    from mockexport.server.faults import Faults, read_faults
    from mockexport.server.server import run
except ModuleNotFoundError as error:
    if (error.name or "").startswith("mockexport"):
        raise
    raise UsageError("serving needs an extra; pip install 'mockexport[server]'") from error

__all__ = ["Faults", "create_app", "read_faults", "run"]
