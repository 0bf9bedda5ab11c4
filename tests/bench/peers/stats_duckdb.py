"""Statistics with DuckDB, on all cores: `python stats_duckdb.py FILE …`.

All that ours has but duplicates, out of order and future; the longest gap by a window. Values are added as doubles.
"""

import sys

import duckdb

QUERY = """
WITH records AS (
    SELECT patient_id, event_type, value, event_time,
        event_time - lag(event_time) OVER (PARTITION BY patient_id, event_type ORDER BY event_time) AS gap
    FROM read_csv(?, header = true, auto_detect = false, columns = {
        'patient_id': 'VARCHAR', 'event_time': 'TIMESTAMP', 'event_type': 'VARCHAR', 'value': 'DOUBLE'}))
SELECT patient_id, event_type, count(*), avg(value), min(value), max(value), stddev_samp(value),
    quantile_disc(value, [0.05, 0.5, 0.95]),
    count(*) FILTER (CASE event_type
        WHEN 'heart_rate' THEN value NOT BETWEEN 40 AND 180 WHEN 'spo2' THEN value NOT BETWEEN 85 AND 100
        WHEN 'bp_sys' THEN value NOT BETWEEN 90 AND 200 WHEN 'bp_dia' THEN value NOT BETWEEN 60 AND 120 END),
    epoch_us(max(event_time)) - epoch_us(min(event_time)), epoch_us(min(event_time)), {longest}
FROM records GROUP BY ALL
"""


def main() -> None:
    without = sys.argv[1] == "--no-longest-gap"  # then no window is computed
    longest = "0" if without else "max(epoch_us(event_time) - epoch_us(event_time - gap))"
    rows = duckdb.execute(QUERY.replace("{longest}", longest), [sys.argv[1 + without :]]).fetchall()
    for patient, kind, count, mean, low, high, sd, quantiles, anomalies, span, first, gap in rows:
        latency = span / 1e6 / max(1, count - 1)
        figures = [mean, low, high, sd, *quantiles, anomalies, latency, first / 1e6, gap / 1e6]
        print(patient, "|".join([kind, *(f"{figure:.6g}" for figure in figures)]), count, sep=",")
    print("", "", sum(row[2] for row in rows), sep=",")


if __name__ == "__main__":
    main()
