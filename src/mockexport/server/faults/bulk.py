"""Faults of the FHIR Bulk Data API (docs/faults.md): those that change a manifest, or depend on earlier requests."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import orjson
from fastapi import Request
from fastapi.responses import Response

from mockexport.bulk_wire import FHIR, FHIR_JSON, FHIR_NDJSON, issue, operation_outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from mockexport.server.faults.spec import FaultPlan, Rule

    Rules = Mapping[str, Rule]

__all__ = ["BulkFaults", "earlier", "is_bulk", "outcome"]

JOB = re.compile(re.escape(FHIR) + "/jobs/([^/]+)")
LISTS = ("output", "deleted", "error")
MOVED = "moved"  # the parameter of a link to the other origin


def is_bulk(path: str) -> bool:
    """Return whether a path is of the FHIR API."""
    return path.startswith(f"{FHIR}/")


def outcome(status: int, code: str, told: str, **headers: str) -> Response:
    """Return a response with an OperationOutcome; an underscore in a header's name is a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(orjson.dumps(operation_outcome(issue(code, told))), status, named, FHIR_JSON)


def earlier(time: str, seconds: str) -> str:
    """Return a time so many seconds earlier, in the same form."""
    moved = datetime.fromisoformat(time) - timedelta(seconds=float(seconds))
    return moved.isoformat().replace("+00:00", "Z")


class BulkFaults:
    """What these faults keep between requests: expired links and tokens, links elsewhere, files of their own."""

    def __init__(self, plan: FaultPlan) -> None:
        self._renews = any(rule.fault == "expired" for rule in plan.rules)
        self._manifests = 0
        self._jobs: dict[str, int] = {}
        self._expired: dict[str, int] = {}  # the status by the link
        self._tokens: set[str] = set()
        self._moved: dict[str, str | None] = {}  # by link, the header Authorization
        self._files: dict[str, bytes] = {}

    def known_path(self, path: str) -> str:
        """Return a path with the number of a job in place of its id, which is another one in each run."""
        found = JOB.match(path)
        if found is None:
            return path
        number = self._jobs.setdefault(found[1], len(self._jobs) + 1)
        return f"{FHIR}/jobs/{number}{path[found.end() :]}"

    def answer(self, rules: Rules, scope: Scope) -> Response | None:
        """Return what answers a request in place of the application, if anything does."""
        request = Request(scope)
        path, token = request.url.path, request.headers.get("authorization")
        if "token-expired" in rules and token:
            self._tokens.add(token)
        if token in self._tokens and path != f"{FHIR}/token":
            wanted = 'Bearer error="invalid_token"'
            return outcome(401, "login", "The token has expired", WWW_Authenticate=wanted)
        if path in self._files:
            return Response(self._files[path], media_type=FHIR_NDJSON)
        link = f"{path}?{request.url.query}"
        if "expired" in rules:
            self._expired[link] = int(rules["expired"].amount)
        if link in self._expired:
            return outcome(self._expired[link], "not-found", "The link has expired; the manifest has another one")
        return self._redirect(request, token, rules.get("redirect"))

    def _redirect(self, request: Request, token: str | None, rule: Rule | None) -> Response | None:
        """Redirect a request to another origin, this server by another name; there, refuse one with a token."""
        moved = request.query_params.get(MOVED)
        if moved is None and rule:
            moved = secrets.token_urlsafe(16)
            self._moved[moved] = token
            host = "127.0.0.1" if request.url.hostname == "localhost" else "localhost"
            location = request.url.include_query_params(**{MOVED: moved}).replace(hostname=host)
            return Response(status_code=int(rule.amount), headers={"Location": str(location)})
        if moved is not None and token:
            return outcome(400, "security", "The link is signed: a token must not be sent along")
        if moved is not None and moved not in self._moved:
            return outcome(403, "forbidden", "The link has a wrong signature")
        return None

    def scope(self, scope: Scope) -> Scope:
        """Return a request as the application should see it: one to the other origin needs neither mark nor token."""
        query = parse_qsl(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
        moved = dict(query).get(MOVED)
        if moved is None:
            return scope
        token = self._moved.get(moved)
        headers = [*scope["headers"], (b"authorization", token.encode())] if token else scope["headers"]
        rest = urlencode([(name, value) for name, value in query if name != MOVED])
        return {**scope, "headers": headers, "query_string": rest.encode()}

    def change(self, rules: Rules, scope: Scope, document: Any) -> None:
        """Change a manifest."""
        found = JOB.match(scope["path"])
        if found is None or "output" not in document:
            return
        for entry in document["output"]:
            if "rows" in rules and "count" in entry:
                entry["count"] = max(0, entry["count"] + int(rules["rows"].amount))
            if "no-rows" in rules:
                entry.pop("count", None)
        if "window" in rules:
            document["transactionTime"] = earlier(document["transactionTime"], rules["window"].amount)
        if "error-file" in rules:
            told = issue("exception", "Some resources could not be exported: a fault on request")
            failed = operation_outcome({**told, "severity": rules["error-file"].amount})
            document["error"].append(self._add_file(scope, f"{found[0]}/failed.ndjson", failed))
        if "deleted" in rules:
            entry = {"request": {"method": "DELETE", "url": rules["deleted"].amount}}
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
            document["deleted"].append(self._add_file(scope, f"{found[0]}/deleted.ndjson", bundle))
        if self._renews:
            self._manifests += 1
            for entry in (entry for name in LISTS for entry in document[name]):
                entry["url"] += f"?link={self._manifests}"

    def _add_file(self, scope: Scope, path: str, resource: dict[str, Any]) -> dict[str, Any]:
        """Have a file of one resource; return its entry in the manifest."""
        self._files[path] = orjson.dumps(resource) + b"\n"
        url = Request(scope).url.replace(path=path, query="")
        return {"type": resource["resourceType"], "url": str(url), "count": 1}
