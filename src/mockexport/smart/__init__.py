"""SMART Backend Services, both ends: how a client gets access tokens of a FHIR server, and how a server gives them.

The facts are in SMART App Launch 2.2, "Backend Services" and "Asymmetric Authentication"; docs/fhir.md tells what is
supported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.smart.assertion import Refused, check_assertion
    from mockexport.smart.clients import Client, read_clients
    from mockexport.smart.credentials import Credentials, KeyFile, SecretFile
    from mockexport.smart.token_server import TokenServer
    from mockexport.smart.tokens import Answer, Send, SmartTokens

__all__ = [
    "Answer",
    "Client",
    "Credentials",
    "KeyFile",
    "Refused",
    "SecretFile",
    "Send",
    "SmartTokens",
    "TokenServer",
    "check_assertion",
    "read_clients",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "assertion": ("Refused", "check_assertion"),
        "clients": ("Client", "read_clients"),
        "credentials": ("Credentials", "KeyFile", "SecretFile"),
        "token_server": ("TokenServer",),
        "tokens": ("Answer", "Send", "SmartTokens"),
    },
)
