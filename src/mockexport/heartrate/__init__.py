"""Heart-rate readings: ingested, stored, queried and exported (docs/heart-rate.md). Needs the extra `[heartrate]`.

HTTP -> ingest -> service -> journal, then table -> export
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.heartrate.export import HeartRateSource
    from mockexport.heartrate.folder import is_heart_rate_folder
    from mockexport.heartrate.ingest import HeartRateRoutes, RateLimits
    from mockexport.heartrate.load import (
        READINGS,
        HeartRateClient,
        HeartRateNodes,
        OnSending,
        Plan,
        SendInterrupted,
        Sent,
        Summary,
        send,
    )
    from mockexport.heartrate.readings import (
        LeapSecondError,
        microseconds_of,
        minutes_document,
        parse_instant,
        time_of,
    )
    from mockexport.heartrate.service import HeartRate
    from mockexport.heartrate.table import FileFormat, read_compression

__all__ = [
    "READINGS",
    "FileFormat",
    "HeartRate",
    "HeartRateClient",
    "HeartRateNodes",
    "HeartRateRoutes",
    "HeartRateSource",
    "LeapSecondError",
    "OnSending",
    "Plan",
    "RateLimits",
    "SendInterrupted",
    "Sent",
    "Summary",
    "is_heart_rate_folder",
    "microseconds_of",
    "minutes_document",
    "parse_instant",
    "read_compression",
    "send",
    "time_of",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "export": ("HeartRateSource",),
        "folder": ("is_heart_rate_folder",),
        "ingest": ("HeartRateRoutes", "RateLimits"),
        "load": (
            "HeartRateClient",
            "HeartRateNodes",
            "OnSending",
            "Plan",
            "READINGS",
            "SendInterrupted",
            "Sent",
            "Summary",
            "send",
        ),
        "readings": ("LeapSecondError", "microseconds_of", "minutes_document", "parse_instant", "time_of"),
        "service": ("HeartRate",),
        "table": ("FileFormat", "read_compression"),
    },
)
