"""`report.json` and what lies beside it: read strictly (reports come from anywhere), written atomically."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from edgekd.errors import InputError, storage_errors
from edgekd.report.html import render_html
from edgekd.report.markdown import render_markdown

SCHEMA = "edgekd.run/1"


def read_report(path: Path) -> dict[str, Any]:
    """The report in a file, or in a run's folder.

    Raises InputError where it is missing, not JSON, of another schema, or not of that schema's shape.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}; a report is what `edgekd distill --out` leaves") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a JSON document: {error}") from error
    try:
        return check_report(document)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def check_report(document: Any) -> dict[str, Any]:
    """The document itself, if it is a report of schema `edgekd.run/1`. Raises InputError that names the first bad key."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise InputError(f"report has schema {json.dumps(schema, default=str)[:80]}, expected '{SCHEMA}'")
    from pydantic import ValidationError

    from edgekd.report.schema import Report

    try:
        Report.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"report: {where}: {first['msg']}") from error
    return dict(document)


def report_json(report: dict[str, Any]) -> str:
    """The report as JSON text. Raises InputError for NaN and infinity, which JSON does not have."""
    try:
        return json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except ValueError as error:
        raise InputError(f"report cannot be written as JSON: {error}; write null where there is no number") from error


def write_report(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write report.json, report.html and report.md in `folder`; each appears whole or not at all.

    Raises InputError where the report is not of its schema, StorageError where the folder cannot be written.
    """
    check_report(report)
    texts = {"report.json": report_json(report), "report.html": render_html(report), "report.md": render_markdown(report)}
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        return [_replace(folder / name, text) for name, text in texts.items()]


def _replace(path: Path, text: str) -> Path:
    """Write beside the place, then rename: a power cut leaves the old file or the new one."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")
