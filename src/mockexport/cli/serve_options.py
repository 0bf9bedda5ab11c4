"""The options of `mockexport serve` for those who run it: limits, logs, its URL and the table's files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = [
    "ClientLimitOption",
    "CompressionOption",
    "FileSizeOption",
    "LogFormat",
    "LogFormatOption",
    "PublicUrlOption",
    "UserLimitOption",
]


class LogFormat(StrEnum):
    """How lines on stderr look."""

    text = "text"
    json = "json"


LogFormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", help="How lines on stderr look: text, or one JSON object a line."),
]
PublicUrlOption = Annotated[
    str | None,
    typer.Option(
        "--public-url",
        metavar="URL",
        show_default=False,
        help="The URL by which clients reach this server, if it is behind a proxy that speaks TLS.",
    ),
]
ClientLimitOption = Annotated[
    str | None,
    typer.Option(
        "--rate-limit-client",
        metavar="N/TIME",
        show_default=False,
        help="Refuse heart-rate requests of a client beyond N in a time, such as 1000/minute.",
    ),
]
UserLimitOption = Annotated[
    str | None,
    typer.Option(
        "--rate-limit-user",
        metavar="N/TIME",
        show_default=False,
        help="Refuse readings of a user, and queries of them, beyond N of each in a time, such as 600/minute.",
    ),
]
CompressionOption = Annotated[
    str | None,
    typer.Option(
        "--table-compression",
        metavar="CODEC",
        show_default=False,
        help="How new files of the table are compressed: zstd:1 to zstd:22, snappy, lz4 or none.  [default: zstd:1]",
    ),
]
FileSizeOption = Annotated[
    str | None,
    typer.Option(
        "--table-file-size",
        metavar="SIZE",
        show_default=False,
        help="About the size of the table's files once they are merged, such as 128MB.  [default: a million readings]",
    ),
]
