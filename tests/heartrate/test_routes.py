"""The routes as heart-rate.md specifies them, over real HTTP, with everything kept in a real folder."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.heartrate.bodies import GOOD, NO_OBJECT, WRONG_ENVELOPES, WRONG_JSON, WRONG_READINGS, dumps, reading
from tests.heartrate.serving import BATCH, ONE, kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One server for all; each test has users of its own."""
    with kept(tmp_path_factory.mktemp("readings"), accept_ahead=timedelta(days=3_000_000)) as (client, _):
        yield client


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """A user that no other test knows."""
    return str(request.node.name)[:128]


def post(client: httpx.Client, *readings: dict[str, Any]) -> None:
    answer = client.post(BATCH, json={"readings": readings})
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(readings)), answer.text


def ask(client: httpx.Client, user: str, start: str, end: str, **more: str) -> list[tuple[str, float, str]]:
    """A user's minutes; none where there is nothing."""
    answer = client.get(ONE, params={"user_id": user, "start": start, "end": end, **more})
    if answer.status_code == 404:
        assert answer.json() == {"detail": "No data found"}
        return []
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert list(document) == ["user_id", "data", "count"]
    assert (document["user_id"], document["count"]) == (user, len(document["data"]))
    return [(point["timestamp"], point["heart_rate"], point["device_id"]) for point in document["data"]]


def test_a_reading_is_202_and_there_at_once(client: httpx.Client, user: str) -> None:
    answer = client.post(ONE, json=reading(user_id=user))
    assert (answer.status_code, answer.text) == (202, '{"status":"accepted"}')
    assert answer.headers["content-type"] == "application/json"
    found = client.get(ONE, params={"user_id": user, "start": "2024-01-15T10:00:00Z", "end": "2024-01-15T10:00:00Z"})
    assert found.text == (
        f'{{"user_id":"{user}","data":[{{"timestamp":"2024-01-15T10:00:00Z","heart_rate":75.0,'
        '"device_id":"device_a"}],"count":1}'
    )


def test_paths_with_a_version_and_without_are_one_service(client: httpx.Client, user: str) -> None:
    times = [f"2024-01-15T10:0{minute}:00Z" for minute in range(4)]
    bodies = [reading(user_id=user, timestamp=time) for time in times]
    assert client.post(f"/v1{ONE}", json=bodies[0]).json() == client.post(ONE, json=bodies[1]).json()
    for path, body in ((f"/v1{BATCH}", bodies[2]), (BATCH, bodies[3])):
        assert client.post(path, json={"readings": [body]}).json()["accepted"] == 1
    parameters = {"user_id": user, "start": "2024-01-15", "end": "2024-01-15"}
    old, new = (client.get(path, params=parameters) for path in (ONE, f"/v1{ONE}"))
    assert [point["timestamp"] for point in new.json()["data"]] == times
    assert old.content == new.content
    assert client.head(f"/v1{ONE}", params=parameters).headers["content-length"] == new.headers["content-length"]
    refused = client.delete(f"/v1{ONE}")
    assert (refused.status_code, refused.headers["allow"]) == (405, client.delete(ONE).headers["allow"])
    assert [client.get(path).status_code for path in ("/v2/metrics/heart-rate", "/v1/metrics")] == [404, 404]


def test_a_batch_tells_how_many_it_took(client: httpx.Client, user: str) -> None:
    two = {"readings": [reading(user_id=user), reading(user_id=user, timestamp="2024-01-15T10:01:00Z")]}
    answer = client.post(BATCH, json=two)
    assert answer.status_code == 202
    assert answer.text == '{"status":"accepted","accepted":2,"rejected":0,"total":2}'


def test_the_bad_readings_of_a_batch_are_named_and_all_the_good_ones_kept(client: httpx.Client, user: str) -> None:
    minutes = [reading(user_id=user, timestamp=f"2024-01-15T10:{minute:02}:00Z") for minute in range(10)]
    minutes[7]["heart_rate"] = 221
    del minutes[2]["timestamp"]
    answer = client.post(BATCH, json={"readings": minutes})
    assert answer.status_code == 202
    assert answer.json() == {
        "status": "accepted",
        "accepted": 8,
        "rejected": 2,
        "total": 10,
        "errors": [
            {"index": 2, "reason": "timestamp: is missing"},
            {"index": 7, "reason": "heart_rate: is above 220 beats a minute"},
        ],
    }
    found = ask(client, user, "2024-01-15T10:00:00Z", "2024-01-15T11:00:00Z")
    assert [time[14:16] for time, _, _ in found] == ["00", "01", "03", "04", "05", "06", "08", "09"]


def test_101_single_posts_one_after_another_are_all_there(client: httpx.Client, user: str) -> None:
    for number in range(101):
        time = f"2024-01-15T{10 + number // 60}:{number % 60:02}:00Z"
        assert client.post(ONE, json=reading(user_id=user, timestamp=time)).status_code == 202
        assert len(ask(client, user, "2024-01-15T00:00:00Z", "2024-01-16T00:00:00Z")) == number + 1


def test_1000_readings_in_one_batch_are_all_there(client: httpx.Client, user: str) -> None:
    times = [f"2024-01-15T{hour:02}:{minute:02}:00Z" for hour in range(24) for minute in range(60)][:1000]
    post(client, *(reading(user_id=user, timestamp=time, heart_rate=30 + n % 191) for n, time in enumerate(times)))
    found = ask(client, user, "2024-01-15T00:00:00Z", "2024-01-15T23:59:59Z")
    assert found == [(time, 30.0 + n % 191, "device_a") for n, time in enumerate(times)]


def test_60_80_100_is_80(client: httpx.Client, user: str) -> None:
    for second, rate in (("00", 60), ("20", 80), ("59.999999", 100)):
        post(client, reading(user_id=user, timestamp=f"2024-01-15T10:00:{second}Z", heart_rate=rate))
    assert ask(client, user, "2024-01-15T10:00:00Z", "2024-01-15T10:01:00Z") == [
        ("2024-01-15T10:00:00Z", 80.0, "device_a")
    ]


def test_fractional_offset_and_naive_timestamps_fall_into_their_utc_minutes_across_midnight(
    client: httpx.Client, user: str
) -> None:
    post(
        client,
        reading(user_id=user, timestamp="2024-01-15T23:59:59.999999Z", heart_rate=60),
        reading(user_id=user, timestamp="2024-01-16T00:00:00", heart_rate=61),
        reading(user_id=user, timestamp="2024-01-16T02:01:00.5+02:00", heart_rate=62),
        reading(user_id=user, timestamp="2024-01-15T19:02:00-05:00", heart_rate=63),
        reading(user_id=user, timestamp="2024-01-16T05:33:00.000001+05:30", heart_rate=64),
    )
    assert [(time, rate) for time, rate, _ in ask(client, user, "2024-01-15T23:00:00Z", "2024-01-16T01:00:00Z")] == [
        ("2024-01-15T23:59:00Z", 60.0),
        ("2024-01-16T00:00:00Z", 61.0),
        ("2024-01-16T00:01:00Z", 62.0),
        ("2024-01-16T00:02:00Z", 63.0),
        ("2024-01-16T00:03:00Z", 64.0),
    ]


def test_the_last_instant_of_a_day_and_the_first_of_the_next_are_told_apart(client: httpx.Client, user: str) -> None:
    last, first = "2024-02-29T23:59:59.999999Z", "2024-03-01T00:00:00Z"
    post(client, *(reading(user_id=user, timestamp=t, heart_rate=r) for t, r in ((last, 60), (first, 90))))
    assert [rate for _, rate, _ in ask(client, user, "2024-02-29T00:00:00Z", last)] == [60.0]
    assert [rate for _, rate, _ in ask(client, user, first, "2024-03-01T23:59:59Z")] == [90.0]
    assert [rate for _, rate, _ in ask(client, user, last, first)] == [60.0, 90.0]


def test_start_and_end_are_instants_both_included_in_whatever_offset(client: httpx.Client, user: str) -> None:
    for second in (0, 1, 2):
        post(client, reading(user_id=user, timestamp=f"2024-01-15T10:00:0{second}Z", heart_rate=60 + second))
    assert ask(client, user, "2024-01-15T12:00:01+02:00", "2024-01-15T05:00:01-05:00") == [
        ("2024-01-15T10:00:00Z", 61.0, "device_a")
    ]
    assert ask(client, user, "2024-01-15T10:00:00.000001Z", "2024-01-15T10:00:02")[0][1] == 61.5
    assert ask(client, user, "2024-01-15T10:00:00.000001Z", "2024-01-15T10:00:00.999999Z") == []


def test_of_two_devices_in_a_minute_the_better_one_counts_and_in_its_absence_the_other(
    client: httpx.Client, user: str
) -> None:
    def at(time: str, device: str, rate: float) -> dict[str, Any]:
        return reading(user_id=user, timestamp=f"2024-01-15T10:{time}Z", device_id=device, heart_rate=rate)

    post(client, at("00:10", "device_b", 100), at("00:20", "device_a", 60), at("00:30", "device_a", 70))
    post(client, at("01:10", "device_b", 90), at("02:10", "device_z", 80), at("02:20", "device_b", 85))
    post(client, at("03:10", "device_z", 81), at("03:20", "device_y", 82))
    assert ask(client, user, "2024-01-15T10:00:00Z", "2024-01-15T11:00:00Z") == [
        ("2024-01-15T10:00:00Z", 65.0, "device_a"),
        ("2024-01-15T10:01:00Z", 90.0, "device_b"),
        ("2024-01-15T10:02:00Z", 85.0, "device_b"),
        ("2024-01-15T10:03:00Z", 82.0, "device_y"),
    ]


def test_a_device_that_is_named_is_the_only_one_looked_at(client: httpx.Client, user: str) -> None:
    for device, rate in (("device_a", 60), ("device_b", 100)):
        post(client, reading(user_id=user, device_id=device, heart_rate=rate))
    whole_hour = ("2024-01-15T10:00:00Z", "2024-01-15T11:00:00Z")
    assert ask(client, user, *whole_hour, device_id="device_b") == [("2024-01-15T10:00:00Z", 100.0, "device_b")]
    assert ask(client, user, *whole_hour, device_id="device_c") == []


def test_sent_again_a_reading_counts_once_and_the_last_one_in_stands(client: httpx.Client, user: str) -> None:
    for rate in (60, 100, 70):
        post(client, reading(user_id=user, heart_rate=rate), reading(user_id=user, heart_rate=rate + 1))
    post(client, reading(user_id=user, heart_rate=90, timestamp="2024-01-15T10:00:30Z"))
    post(client, reading(user_id=user, heart_rate=71, timestamp="2024-01-15T12:00:00.000000+02:00"))
    assert ask(client, user, "2024-01-15T10:00:00Z", "2024-01-15T10:01:00Z") == [
        ("2024-01-15T10:00:00Z", 80.5, "device_a")
    ]


def test_points_come_in_order_however_readings_came(client: httpx.Client, user: str) -> None:
    for minute in (5, 1, 3, 2, 4):
        post(client, reading(user_id=user, timestamp=f"2024-01-15T10:0{minute}:30Z", heart_rate=60 + minute))
    found = ask(client, user, "2024-01-15T10:00:00Z", "2024-01-15T11:00:00Z")
    assert found == [(f"2024-01-15T10:0{minute}:00Z", 60.0 + minute, "device_a") for minute in (1, 2, 3, 4, 5)]


def test_users_do_not_see_each_other(client: httpx.Client, user: str) -> None:
    post(client, reading(user_id=f"{user} 1", heart_rate=60), reading(user_id=f"{user} 2", heart_rate=90))
    assert ask(client, f"{user} 1", "2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z")[0][1] == 60.0
    assert ask(client, user, "2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z") == []


@pytest.mark.parametrize(
    "name", ["💓 Zoë", "../../../etc/passwd", 'a,b\n"c"\'; DROP TABLE x', "עברית", "a+b&c=d%20", "\0", " "]
)
def test_ids_of_any_script_are_only_ids(client: httpx.Client, name: str) -> None:  # fmt: skip
    post(client, reading(user_id=name, device_id=name))
    found = ask(client, name, "2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z", device_id=name)
    assert found == [("2024-01-15T10:00:00Z", 75.0, name)]


def test_the_first_and_the_last_instant_that_there_are_can_be_kept_and_asked_for(
    client: httpx.Client, user: str
) -> None:
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
    post(client, reading(user_id=user, timestamp=first, heart_rate=60), reading(user_id=user, timestamp=last))
    assert ask(client, user, first, last) == [
        ("0001-01-01T00:00:00Z", 60.0, "device_a"),
        ("9999-12-31T23:59:00Z", 75.0, "device_a"),
    ]


def refused(answer: httpx.Response, field: str) -> None:
    """It is 400 in the one shape, and names the field."""
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["detail"]
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", WRONG_READINGS)
def test_every_kind_of_wrong_reading_is_400(client: httpx.Client, name: str) -> None:
    field, body = WRONG_READINGS[name]
    refused(client.post(ONE, content=body, headers=JSON), field)


@pytest.mark.parametrize("name", [*WRONG_JSON, *NO_OBJECT])
def test_every_kind_of_body_that_is_no_reading_is_400(client: httpx.Client, name: str) -> None:
    field = "body" if name in WRONG_JSON else "reading"
    refused(client.post(ONE, content=(WRONG_JSON | NO_OBJECT)[name], headers=JSON), field)


@pytest.mark.parametrize("name", WRONG_ENVELOPES)
def test_every_kind_of_wrong_batch_is_400(client: httpx.Client, name: str) -> None:
    field, body = WRONG_ENVELOPES[name]
    refused(client.post(BATCH, content=body, headers=JSON), field)


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "☃"]
)
def test_json_is_taken_whatever_it_is_called(client: httpx.Client, user: str, kind: str | None) -> None:
    headers = {} if kind is None else {b"Content-Type": kind.encode()}
    answer = client.post(ONE, content=dumps(reading(user_id=user)), headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *[({name: None}, name) for name in ("user_id", "start", "end")],
        *[({name: ""}, name) for name in ("user_id", "start", "end", "device_id")],
        *[({name: "x" * 129}, name) for name in ("user_id", "device_id")],
        *[({name: value}, name) for name in ("start", "end") for value in ("now", "1705312800", "2024-01", "\0")],
        ({"start": "2024-01-15T10:00:01Z"}, "start"),
        ({"start": "0001-01-01T00:00:00+02:00"}, "start"),
        ({"end": "9999-12-31T23:59:59-02:00"}, "end"),
    ],
)  # fmt: skip
def test_every_kind_of_wrong_query_is_400(client: httpx.Client, changes: dict[str, str | None], field: str) -> None:
    given = {"user_id": "u", "start": "2024-01-15T10:00:00Z", "end": "2024-01-15T10:00:00Z", **changes}
    refused(client.get(ONE, params={name: value for name, value in given.items() if value is not None}), field)


@pytest.mark.parametrize(
    ("query", "field"), [("user_id=%ff", "query"), ("user_id=%ed%a0%80", "query"), ("", "user_id")]
)
def test_a_query_string_that_can_not_be_read_is_400(client: httpx.Client, query: str, field: str) -> None:
    refused(client.get(f"{ONE}?{query}"), field)


def test_a_bare_plus_in_a_query_is_taken_for_what_was_meant(client: httpx.Client, user: str) -> None:
    post(client, reading(user_id=user))
    answer = client.get(f"{ONE}?user_id={user}&start=2024-01-15T12:00:00+02:00&end=2024-01-15T12:00:00%2B02:00")
    assert answer.json()["count"] == 1


def test_a_range_without_readings_is_404(client: httpx.Client, user: str) -> None:
    post(client, reading(user_id=user))
    answer = client.get(ONE, params={"user_id": user, "start": "2024-01-15T10:00:01Z", "end": "2025-01-01T00:00:00Z"})
    assert (answer.status_code, answer.text) == (404, '{"detail":"No data found"}')


def test_health_is_as_specified(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.text) == (200, '{"status":"healthy","service":"heart-rate-metrics"}')


def test_metrics_are_prometheus_text_and_name_nobody(client: httpx.Client, user: str) -> None:
    post(client, reading(user_id=user))
    client.post(ONE, json=reading(heart_rate=0))
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    figures = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(figures['mockexport_heartrate_readings_total{outcome="accepted"}']) >= 1
    assert float(figures['mockexport_heartrate_readings_total{outcome="rejected"}']) >= 1
    assert float(figures['mockexport_heartrate_answers_total{route="reading",status="400"}']) >= 1
    assert user not in answer.text


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(ONE, {"GET", "HEAD", "POST"}), (BATCH, {"POST"}), ("/health", {"GET", "HEAD"}), ("/metrics", {"GET", "HEAD"})],
)
def test_other_methods_are_405_and_told_which_are_allowed(client: httpx.Client, path: str, allowed: set[str]) -> None:
    for method in ("DELETE", "PUT", "PATCH", "OPTIONS"):
        answer = client.request(method, path)
        assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, allowed)


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_head_answers_as_get_does_without_a_body(client: httpx.Client, path: str) -> None:
    assert (client.head(path).status_code, client.head(path).content) == (200, b"")


def test_a_date_is_the_whole_day_at_both_ends(client: httpx.Client, user: str) -> None:
    days = ("2024-01-14T23:59:59.999999", "2024-01-15T00:00:00", "2024-01-16T23:59:59.999999", "2024-01-17T00:00:00")
    post(client, *(reading(user_id=user, timestamp=time) for time in days))
    found = [minute for minute, _, _ in ask(client, user, "2024-01-15", "2024-01-16")]
    assert found == ["2024-01-15T00:00:00Z", "2024-01-16T23:59:00Z"]
    assert [minute for minute, _, _ in ask(client, user, "2024-01-15", "2024-01-15")] == found[:1]


@pytest.mark.parametrize("end", ["2024-01-15t11:00:00z", "2024-01-15 11:00:00Z", "2024-01-15T24:00:00Z"])
def test_a_time_may_be_written_as_in_rfc_3339_and_a_day_may_end_at_24(
    client: httpx.Client, user: str, end: str
) -> None:
    post(client, reading(user_id=user, timestamp="2024-01-15 10:00:00z"))
    assert ask(client, user, "2024-01-15t10:00:00z", end) == [("2024-01-15T10:00:00Z", 75.0, "device_a")]


def test_a_leap_second_is_refused_with_a_message_that_says_so(client: httpx.Client, user: str) -> None:
    told = "has the second 60; leap seconds are not supported: use second 59 or the next minute"
    leap = reading(user_id=user, timestamp="2016-12-31T23:59:60Z")
    alone = client.post(ONE, json=leap)
    assert (alone.status_code, alone.json()["detail"]) == (400, f"timestamp: {told}")
    batch = client.post(BATCH, json={"readings": [leap, reading(user_id=user, timestamp="2016-12-31T23:59:59Z")]})
    assert (batch.status_code, batch.json()["errors"]) == (202, [{"index": 0, "reason": f"timestamp: {told}"}])
    for end in ("2016-12-31T23:59:60Z", "2017-01-01T01:59:60+02:00", "2017-01-01T01:59:60%2B02:00"):
        asked = client.get(f"{ONE}?user_id={user}&start=2016-12-31&end={end}")
        assert (asked.status_code, asked.json()["detail"]) == (400, f"end: {told}")


def test_the_description_shows_the_real_shapes(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    batch = described["paths"][BATCH]["post"]
    readings = batch["requestBody"]["content"]["application/json"]["schema"]["properties"]["readings"]
    assert (readings["maxItems"], readings["items"]["required"]) == (1000, list(GOOD))
    assert set(batch["responses"]) == {"202", "400", "408", "413", "429", "503"}
    query = described["paths"][ONE]["get"]
    assert [(p["name"], p["required"]) for p in query["parameters"]] == [
        ("user_id", True), ("start", True), ("end", True), ("device_id", False),
    ]  # fmt: skip
    assert set(query["responses"]) == {"200", "400", "404", "429", "503"}
    for path, methods in ((ONE, {"get", "head", "post"}), (BATCH, {"post"})):
        of_version, kept_one = described["paths"][f"/v1{path}"], described["paths"][path]
        assert set(of_version) == set(kept_one) == methods
        for method in methods:
            old, new = (dict(found[method]) for found in (kept_one, of_version))
            assert " (kept for clients that know no version)" in old["summary"]
            for only in ("summary", "operationId"):
                assert old.pop(only) != new.pop(only)
            assert old == new
    assert list(described["paths"]).index(f"/v1{ONE}") < list(described["paths"]).index(ONE)
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 200


def test_the_export_is_listed_and_served_beside_the_others(tmp_path: Path) -> None:
    with kept(tmp_path) as (client, _):
        assert client.get("/api/export").json()["data"]["export_ids"] == ["trial", "heart_rate"]
        post(client, reading(), reading(timestamp="2024-01-16T00:00:00Z"))
        (first, second) = client.get("/api/export/heart_rate").json()["data"]["download_ids"]
        declared = client.get(f"/api/export/heart_rate/{second}").json()["data"]
        shown = (declared["rows"], declared["patients"], declared["start_time"])
        assert shown == (1, ["user_123"], "2024-01-16T00:00:00")
        assert client.get(f"/api/export/heart_rate/{first}/data").text == (
            "patient_id,event_time,event_type,value\nuser_123,2024-01-15T10:00:00Z,heart_rate,75\n"
        )
