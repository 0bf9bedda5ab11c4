"""What all HTTP clients share: the transport, retries, and reading the body of a download."""

from mockexport.http.body import HttpBody, content_coding, content_length, content_range, decoded, etag_of
from mockexport.http.client import Authorization, Client, ClientSettings, check_status
from mockexport.http.retry import TRANSIENT, Retries, RetryableError, parse_retry_after, schedule
from mockexport.http.transport import Transport, check_url, httpx, lost_connection

__all__ = [
    "TRANSIENT",
    "Authorization",
    "Client",
    "ClientSettings",
    "HttpBody",
    "Retries",
    "RetryableError",
    "Transport",
    "check_status",
    "check_url",
    "content_coding",
    "content_length",
    "content_range",
    "decoded",
    "etag_of",
    "httpx",
    "lost_connection",
    "parse_retry_after",
    "schedule",
]
