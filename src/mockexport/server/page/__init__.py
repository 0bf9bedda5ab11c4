"""The page at `/`: what a server holds, to be looked at; and runs over it, which the command line hands in."""

from mockexport.server.page.description import api_pages
from mockexport.server.page.kinds import Answer, Fresh, Kind, Progress, RunCancelled, Step, Watch
from mockexport.server.page.routes import Page

__all__ = ["Answer", "Fresh", "Kind", "Page", "Progress", "RunCancelled", "Step", "Watch", "api_pages"]
