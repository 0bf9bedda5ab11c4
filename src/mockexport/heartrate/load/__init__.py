"""A client of the service, synthetic readings, and a load generator. Needs no extra."""

from mockexport.heartrate.load.client import HeartRateClient
from mockexport.heartrate.load.nodes import HeartRateNodes
from mockexport.heartrate.load.sender import OnSending, SendInterrupted, Sent, Summary, send
from mockexport.heartrate.load.synthetic import READINGS, Plan

__all__ = [
    "READINGS",
    "HeartRateClient",
    "HeartRateNodes",
    "OnSending",
    "Plan",
    "SendInterrupted",
    "Sent",
    "Summary",
    "send",
]
