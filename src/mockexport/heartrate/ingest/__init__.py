"""Readings in, minutes out: the HTTP routes, and what a valid request is."""

from mockexport.heartrate.ingest.limits import RateLimits
from mockexport.heartrate.ingest.routes import HeartRateRoutes

__all__ = [
    "HeartRateRoutes",
    "RateLimits",
]
