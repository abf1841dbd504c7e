"""The device's half of `edgekd devices setup`: `python setup_device.py WHAT …` in the job's folder, beside which `site` lies.

Standard library, Python 3.8 syntax, no edgekd import. The last line of stdout is one JSON document. What is made is made in the
job's folder, which goes when the job does, and becomes `../site` by one rename: a setup that is cut off leaves nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from typing import Any

NEW, SITE, NOTE = "site", os.path.join("..", "site"), "edgekd-setup.json"


def facts() -> dict[str, Any]:
    """What decides which wheels fit, and what an earlier setup left."""
    try:
        with open(os.path.join(SITE, NOTE)) as stream:
            note = stream.read(10000)
    except OSError:
        note = ""
    found: dict[str, Any] = {"python": list(sys.version_info[:2]), "libc": list(platform.libc_ver())}
    found["bits"] = 8 * struct.calcsize("P")
    found.update(system=platform.system(), machine=platform.machine(), note=note, free=shutil.disk_usage(".").free)
    return found


def unpack(archive: str, note: str) -> dict[str, Any]:
    """Unpack the wheels that the host sent."""
    with tarfile.open(archive) as stream:
        for member in stream:
            if member.name.startswith(("/", "..")) or not (member.isfile() or member.isdir()):
                raise ValueError(f"the archive has more than plain files: {member.name!r}")
            stream.extract(member, NEW)
    return written(note)


def fetch(index_url: str, note: str, *requirements: str) -> dict[str, Any]:
    """Let the device's own pip fetch them."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    argv += ["--target", NEW, "--only-binary=:all:", "--index-url", index_url]
    done = subprocess.run(argv + list(requirements), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise OSError(next((line for line in said if "ERROR" in line or "No module" in line), said[-1] if said else "pip failed"))
    return written(note)


def written(note: str) -> dict[str, Any]:
    with open(os.path.join(NEW, NOTE), "w") as stream:
        stream.write(note)
    return {}


def check(folder: str, *modules: str) -> dict[str, Any]:
    """Import them, and say which versions they are."""
    if folder:
        sys.path.insert(0, os.path.abspath(folder))
    return {"versions": {name: str(getattr(importlib.import_module(name), "__version__", "")) for name in modules}}


def take() -> dict[str, Any]:
    """Put what was made in the place of what was there."""
    if os.path.lexists(SITE):
        os.rename(SITE, "site-before")
    os.rename(NEW, SITE)
    return {}


def remove() -> dict[str, Any]:
    found = os.path.lexists(SITE)
    if found:
        os.rename(SITE, "site-before")
    return {"removed": found}


ACTIONS: dict[str, Callable[..., Any]] = {action.__name__: action for action in (facts, unpack, fetch, check, take, remove)}


def main(what: str, *arguments: str) -> None:
    try:
        answer = ACTIONS[what](*arguments)
    except Exception as error:  # whatever an import raises, the host says it in one line
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
