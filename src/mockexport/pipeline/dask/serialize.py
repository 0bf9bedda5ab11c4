"""What travels to a worker: little. What a worker has of its own (twins, source, board) is only named."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mockexport.model import Download
from mockexport.settings import Settings
from mockexport.tally import choose_tally

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["dumps", "loads", "own_twins", "twins"]


def dumps(value: object, names: Mapping[int, str]) -> bytes:
    """Pickle a value; of objects whose `id` is in `names` only the name travels."""
    file = io.BytesIO()
    _Pickler(file, names).dump(value)
    return file.getvalue()


def loads(data: bytes, own: Mapping[str, Any]) -> Any:
    """Unpickle a value; `own` is what the names mean here."""
    return _Unpickler(data, own).load()


def twins() -> dict[int, str]:
    """Name the twins, whichever run here: a worker may have others."""
    return {id(choose_tally(kernel)): "tally" for kernel in ("auto", "pure")}


def own_twins() -> dict[str, Any]:
    """Return the twins that this worker has chosen."""
    return {"tally": choose_tally(Settings.from_environment().kernel)}


class _Pickler(pickle.Pickler):
    """Leaves out what a worker has of its own, and what no worker needs."""

    def __init__(self, file: io.BytesIO, names: Mapping[int, str]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, obj: object) -> str | None:
        """Return the name of what stays here."""
        return self._names.get(id(obj))

    def reducer_override(self, obj: object) -> Any:
        """Leave out of a download what only listings show; it may be much."""
        if type(obj) is Download and (obj.patients or obj.event_types):
            return replace(obj, patients=None, event_types=None).__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, own: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._own = own

    def persistent_load(self, name: str) -> Any:
        return self._own[name]
