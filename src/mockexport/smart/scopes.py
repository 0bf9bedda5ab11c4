"""The scopes of a system, such as `system/Observation.rs` (SMART App Launch, "Scopes and Launch Context")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["granted", "is_scope"]

SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]*)\.(c?r?u?d?s?|read|write|\*)")
OLD = {"read": "rs", "write": "cud", "*": "cruds"}  # as version 1 has them


def is_scope(scope: str) -> bool:
    """Return whether it is the scope of a system."""
    return _parts(scope) is not None


def granted(wanted: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """Return which of the wanted scopes are among the allowed ones, or part of one."""
    known = [parts for scope in allowed if (parts := _parts(scope))]
    return tuple(
        scope
        for scope in wanted
        if (parts := _parts(scope))
        and any(kind in ("*", parts[0]) and parts[1] <= permissions for kind, permissions in known)
    )


def _parts(scope: str) -> tuple[str, frozenset[str]] | None:
    """Return the type, or `*`, and the permissions: create, read, update, delete, search."""
    found = SCOPE.fullmatch(scope)
    if not found or not found[2]:
        return None
    return found[1], frozenset(OLD.get(found[2], found[2]))
