"""Messages as JSON, for programs that read the log of a server."""

from __future__ import annotations

import logging

from mockexport.cli.terminal import send_messages_to

__all__ = ["log_as_json"]


def log_as_json() -> None:
    """Print all messages from now on as JSON, to the end of the process: its last one tells why it ends."""
    from mockexport.server import json_handler

    handler, log = json_handler(), logging.getLogger("mockexport.serve")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").addHandler(handler)
    send_messages_to(log)
