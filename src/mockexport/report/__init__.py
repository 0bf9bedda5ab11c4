"""Reports: the answer of a command as one HTML file, to be read, printed and handed on (docs/report.md).

No input or output here. Each report is made of a command's answer, and of what was run.
"""

from mockexport.report.certificate import certificate_report
from mockexport.report.counts import counts_report
from mockexport.report.page import About
from mockexport.report.statistics import statistics_report

__all__ = ["About", "certificate_report", "counts_report", "statistics_report"]
