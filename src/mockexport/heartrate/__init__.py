"""Heart-rate readings: taken in, kept, queried and exported (docs/heart-rate.md). Needs the extra `[heartrate]`.

HTTP -> validation -> service (journal, then pending, then store) -> merge -> HTTP
"""
