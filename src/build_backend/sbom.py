"""The software bill of materials of a wheel (PEP 770), in CycloneDX 1.6: what is compiled in, file by file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from build_backend.extensions import NativePart

__all__ = ["sbom_text"]

LICENSES = [{"license": {"id": "MIT"}}]


def sbom_text(root: Path, version: str, parts: Iterable[NativePart]) -> str:
    """Return the SBOM of a wheel that has these native parts. It holds no time and no random number."""
    whole = f"pkg:pypi/mockexport@{version}"
    components = [_component(root, version, part) for part in parts]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": whole,
                "name": "mockexport",
                "version": version,
                "purl": whole,
                "licenses": LICENSES,
            }
        },
        "components": components,
        "dependencies": [{"ref": whole, "dependsOn": [component["bom-ref"] for component in components]}],
        "compositions": [{"aggregate": "complete", "assemblies": [whole]}],  # no code of others is compiled in
    }
    return json.dumps(document, indent=2) + "\n"


def _component(root: Path, version: str, part: NativePart) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": part.name,
        "name": part.name,
        "version": version,
        "licenses": LICENSES,
        "components": [
            {
                "type": "file",
                "bom-ref": f"{part.name}:{file}",
                "name": file,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256((root / file).read_bytes()).hexdigest()}],
            }
            for file in sorted(part.files)
        ],
    }
