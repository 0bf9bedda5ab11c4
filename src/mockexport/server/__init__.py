"""Serves any Source over HTTP (docs/wire.md). Importing it without the extra `[server]` raises UsageError."""

from mockexport.extras import needs_extra

with needs_extra("server"):
    from mockexport.server.app import create_app
    from mockexport.server.faults import Faults, read_faults
    from mockexport.server.fhir import Fhir
    from mockexport.server.log import RequestLog, json_handler, log_to_stderr
    from mockexport.server.page import Answer, Kind, Page, Progress, Step, Watch
    from mockexport.server.public_url import PublicUrl, read_origin
    from mockexport.server.server import run

__all__ = [
    "Answer",
    "Faults",
    "Fhir",
    "Kind",
    "Page",
    "Progress",
    "PublicUrl",
    "RequestLog",
    "Step",
    "Watch",
    "create_app",
    "json_handler",
    "log_to_stderr",
    "read_faults",
    "read_origin",
    "run",
]
