"""Values from a device, checked one by one: all that is not what it should be is a DeviceError on one printable line."""

from collections.abc import Mapping
from typing import Any

from edgekd.errors import DeviceError, did_you_mean

MAX_TEXT = 200


def printable(text: str) -> str:
    """A device's text on one line, without control characters (terminals obey them), cut to 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:MAX_TEXT]


def keys(values: Any, required: set[str], optional: set[str], where: str) -> dict[str, Any]:
    found = mapping(values, "answer", where)
    missing = sorted(required - found.keys())
    if missing:
        raise DeviceError(f"{where}: the answer lacks {', '.join(missing)}")
    for key in found.keys() - required - optional:
        raise DeviceError(f"{where}: the answer has an unknown key '{printable(key)}'" + did_you_mean(key, required | optional))
    return dict(found)


def mapping(value: Any, what: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DeviceError(f"{where}: {what} of the answer is not an object")
    return value


def texts(values: Any, what: str, where: str) -> dict[str, str]:
    found = mapping(values, what, where)
    if len(found) > 20:
        raise DeviceError(f"{where}: {what} of the answer has {len(found)} entries")
    return {text(key, what, where): text(value, f"{what}.{key}", where) for key, value in found.items()}


def text(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise DeviceError(f"{where}: {printable(what)} of the answer is not a short text")
    return value


def number(value: Any, what: str, low: float, high: float, where: str, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise DeviceError(f"{where}: {what} of the answer is {printable(repr(value))}, expected {kind} from {low:g} to {high:g}")
    return value
