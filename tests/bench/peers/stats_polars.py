"""Statistics with Polars' streaming engine, on all cores: `python stats_polars.py FILE …`.

All that ours has but duplicates, out of order and future; the longest gap by sorting each group's times.
"""

import sys

import polars as pl

RANGES = {"heart_rate": (40, 180), "spo2": (85, 100), "bp_sys": (90, 200), "bp_dia": (60, 120)}
COLUMNS = {"patient_id": pl.String, "event_time": pl.String, "event_type": pl.String, "value": pl.Float64}


def quantile(values: pl.Expr, twentieths: int) -> pl.Expr:
    """Nearest rank."""
    return values.sort().get((values.len() * twentieths + 19) // 20 - 1)


def main() -> None:
    value, time, kind = pl.col("value"), pl.col("time"), pl.col("event_type")
    anomaly = pl.any_horizontal(
        ((kind == name) & ((value < low) | (value > high)) for name, (low, high) in RANGES.items())
    )
    found = (
        pl.scan_csv(sys.argv[1:], schema=COLUMNS)
        .with_columns(
            time=pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").dt.epoch("us"),
            anomaly=anomaly,
        )
        .group_by("patient_id", "event_type")
        .agg(
            pl.len(), value.mean().alias("mean"), value.min().alias("min"), value.max().alias("max"),
            value.std().alias("sd"), *(quantile(value, k).alias(f"q{k}") for k in (1, 10, 19)),
            pl.col("anomaly").sum(), ((time.max() - time.min()) / 1e6 / (pl.len() - 1)).alias("latency"),
            (time.min() / 1e6).alias("first"), (time.sort().diff().max() / 1e6).alias("gap"),
        )
        .collect(engine="streaming")
        .rows()
    )  # fmt: skip
    for patient, kind_, count, *figures in found:
        print(patient, "|".join([kind_, *(f"{figure:.6g}" for figure in figures)]), count, sep=",")
    print("", "", sum(row[2] for row in found), sep=",")


if __name__ == "__main__":
    main()
