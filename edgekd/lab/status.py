"""`edgekd devices status`: every known device, whether it answers, who has it, who waits for it, when it was there last.

A device that somebody has is not touched: what is measured there would notice.
"""

import datetime
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.book import addresses
from edgekd.bench.transports.locks import DeviceLock, known_locks
from edgekd.emulate.launch import running
from edgekd.errors import EdgekdError
from edgekd.lab.folder import lab_folder
from edgekd.lab.queue import Note

Record = dict[str, Any]
AT_ONCE = 8
ASK_S = 30.0
MAX_BOARDS = 100


def status() -> list[Record]:
    """One record a device: `name`, `address`, `state` (reachable, busy, unreachable, stopped), `reason`, `holder`, `waiting`,
    `last_seen` (seconds since 1970). Raises InputError for a devices.toml that is not well formed.
    """
    named = dict(addresses())
    others = [lock.address for lock in known_locks() if lock.address not in named.values()]
    pairs = [*named.items(), *(("", address) for address in others)]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return [*pool.map(lambda pair: _of(*pair), pairs), *emulated(set(named.values()))]


def _of(name: str, address: str) -> Record:
    lock = DeviceLock(address)
    holder: Note | None = lock.holder()
    reason = "" if holder else unreachable(address)
    return {
        "name": name,
        "address": address,
        "state": "busy" if holder else "unreachable" if reason else "reachable",
        "reason": reason,
        "holder": holder,
        "waiting": lock.queue.waiting(),
        "last_seen": lock.last_seen(),
    }


def unreachable(address: str) -> str:
    """Why a device does not answer, in one line; empty where it does. It is not taken, and nothing is written there."""
    try:
        where = read_address(address)
        if where.kind == "local":
            return ""
        from edgekd.bench.transports.adb import Adb
        from edgekd.bench.transports.ssh import Ssh

        channel = Ssh(where) if where.kind == "ssh" else Adb(where)
        try:
            channel.open()
            done = channel.shell("echo here", ASK_S)
            if b"here" not in done.stdout:
                raise channel.explain(done)
        finally:
            channel.close()
    except EdgekdError as error:
        return str(error).removeprefix(f"{address}: ")
    DeviceLock(address).seen()
    return ""


def emulated(known: set[str]) -> list[Record]:
    """Boards that `edgekd devices emulate` started and that devices.toml has no address of; those of no folder are none."""
    found: list[Record] = []
    for file in sorted((lab_folder() / "boards").glob("*.json"))[:MAX_BOARDS]:
        try:
            board = json.loads(file.read_text(encoding="utf-8"))
            folder, host = Path(str(board["folder"])), str(board["host"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not folder.is_dir():
            file.unlink(missing_ok=True)
            continue
        up = running(folder)
        if f"ssh:{host}" in known:
            continue
        reason = f'put first in ~/.ssh/config: Include "{folder}/ssh_config"' if up else f"its folder is {folder}"
        found.append(
            {
                "name": host,
                "address": f"ssh:{host}",
                "state": "emulated" if up else "stopped",
                "reason": reason,
                "holder": None,
                "waiting": [],
                "last_seen": file.stat().st_mtime,
            }
        )
    return found


def lines(records: Sequence[Record], now: float) -> list[str]:
    """For people: a line a device, and one below it for each job that waits."""
    found = []
    for record in records:
        seen = "never seen" if record["last_seen"] is None else f"seen {ago(now - record['last_seen'])} ago"
        what = record["reason"] if record["holder"] is None else who(record["holder"], now)
        found.append(f"{record['name'] or '-':20} {record['address']:28} {record['state']:11} {seen:16} {what}".rstrip())
        found += [f"    {place}. {who(note, now)}" for place, note in enumerate(record["waiting"], 1)]
    return found or ['no device is known: write its address into devices.toml: [NAME], connect = "ssh:HOST"']


def result_lines(found: Sequence[Record]) -> list[str]:
    """A line a measurement."""
    said = []
    for result in found:
        p90 = (result["record"].get("latency_ms") or {}).get("p90")
        when = datetime.datetime.fromtimestamp(result["created"]).isoformat(" ", "seconds")
        latency = "latency unavailable" if p90 is None else f"p90 {p90:.3f} ms {result['record']['latency_ms']['provenance']}"
        said.append(f"{when}  {result['device']:20} {result['target']:12} {result['sha256'][:12]}  {latency}  {result['user']}")
    return said or ["nothing was measured yet, or EDGEKD_LAB names no shared folder"]


def who(note: Note, now: float) -> str:
    return f"{note['user']}, process {note['pid']}, since {ago(now - note['since'])}: {note['job']}"


def ago(seconds: float) -> str:
    seconds = max(0, round(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
