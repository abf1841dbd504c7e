"""What can go wrong between here and a device, each under a name of its own, and what to do about it.

ssh and adb tell their faults in words only; the tables below read them. The order matters: the first that fits is it.
Sources: OpenSSH 9.2 (sshconnect.c, sshconnect2.c, misc.c, readconf.c), adb 29 to 35 (client/, sysdeps/), each provoked by
`tests/devices/test_device_faults.py` where that can be done without hardware.
"""

import re

from edgekd.errors import DeviceError


class DeviceFault(DeviceError):
    """A fault between here and a device. `cause` is its short name, for programs; the message is for people."""

    def __init__(self, where: str, cause: str, text: str) -> None:
        super().__init__(f"{where}: {text}")
        self.where, self.cause = where, cause


SSH = (
    (r"REVOKED HOST KEY", "host-key-revoked", "its host key is marked as revoked in known_hosts: it may be another machine"),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key .* has changed",
        "host-key-changed",
        "its host key has changed: it may be another machine; if it was set up anew: ssh-keygen -R {host}",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "host-key-unknown",
        "its host key is not known yet: connect once by hand and accept it: ssh {target}",
    ),
    (
        r"UNPROTECTED PRIVATE KEY|bad permissions",
        "key-unprotected",
        "the private key may be read by others, so ssh does not use it: chmod 600 it",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "key-refused",
        "it refused the key: put yours there with: ssh-copy-id {target}",
    ),
    (
        r"Could not resolve hostname|Name or service not known",
        "host-unknown",
        "there is no host of that name: see ~/.ssh/config, or give its IP address",
    ),
    (r"Control socket connect", "lost", "the connection was lost"),
    (r"Connection refused", "connection-refused", "no ssh server listens there: is the device up, and sshd enabled?"),
    (
        r"No route to host|Network is unreachable|Host is down",
        "unreachable",
        "cannot be reached from here: is it on, and in this network?",
    ),
    (
        r"[Tt]imed out|Connection timeout",
        "connect-timeout",
        "did not answer in time: is it on, and does no firewall drop the connection?",
    ),
    (
        r"Bad configuration option|Bad owner or permissions|terminating, \d+ bad|no argument after keyword",
        "ssh-config",
        "ssh refuses its own configuration: {said}",
    ),
    (
        r"no matching (host key|key exchange|cipher|mac)",
        "no-common-algorithm",
        "ssh here and there have no algorithm in common: {said}",
    ),
    (
        r"[Ss]ession open refused|open failed|administratively prohibited",
        "session-refused",
        "it allows no command over this connection: see MaxSessions in its sshd_config",
    ),
    (
        r"Connection (closed|reset)|kex_exchange_identification|Broken pipe|banner exchange|mux_client",
        "lost",
        "the connection was lost",
    ),
)

ADB = (
    (
        r"unauthorized|failed to authenticate",
        "unauthorized",
        "it does not know this computer: accept the question on its screen, then try again",
    ),
    (r"device offline|offline", "offline", "adb says it is offline: plug it in again, or: adb reconnect offline"),
    (
        r"no permissions|insufficient permissions",
        "usb-permissions",
        "adb may not open the USB device: see its udev rules",
    ),
    (
        r"device '.*' not found|no devices/emulators found|device not found|no such device",
        "not-found",
        "adb does not see it; what it sees: adb devices -l",
    ),
    (
        r"failed to connect|cannot connect|unable to connect|Connection refused",
        "connection-refused",
        "no adb daemon answers there: is debugging over the network on?",
    ),
    (r"cannot connect to daemon|failed to start daemon|could not install", "adb-server", "adb cannot start its server: {said}"),
    (r"[Tt]imed out", "connect-timeout", "did not answer in time"),
    (
        r"error: closed|protocol fault|[Cc]onnection reset|EOF|Broken pipe|disconnect|failed to (read|copy|write)|transport",
        "lost",
        "the connection was lost",
    ),
)

DEVICE = (
    (r"No space left|Disk quota exceeded", "disk-full", "its disk is full: free some space there"),
    (r"Read-only file system", "read-only", "its file system is read-only"),
    (r"Permission denied|Operation not permitted|cannot create", "not-writable", "may not be written there: {said}"),
    (r"[Cc]annot allocate memory|can't fork|Out of memory|failed to map segment", "out-of-memory", "it is out of memory"),
    (r"Input/output error|Structure needs cleaning", "disk-broken", "its disk gives errors: {said}"),
)

ANSWER = (
    (r"ended by SIGKILL|MemoryError|bad_alloc|Cannot allocate memory", "out-of-memory", "{said}"),
    (r"No space left|Disk quota exceeded", "disk-full", "{said}"),
    (r"ended by |ended with exit code [1-9]", "crashed", "{said}"),
    (r"answered another|were asked for", "another-job", "{said}"),
)

PASSING = {"busy", "connect-timeout", "connection-refused", "lost", "not-found", "offline", "rebooted", "session-refused"}
PASSING |= {"taken", "truncated", "unreachable"}
"""Causes that may be over in a while, without anybody doing anything here."""
OF_THE_RUN = {"another-job", "clock-jump", "crashed", "garbage", "out-of-memory", "output", "timeout"}
"""Causes that may lie in what was run: the device answers again, and the next model may do better."""


def bad_answer(where: str, error: DeviceError) -> DeviceFault:
    """What is wrong with a run's answer as a fault with a name."""
    said = str(error).removeprefix(f"{where}: ")
    return DeviceFault(where, *(name_fault(ANSWER, said) or ("garbage", said)))


def name_fault(table: tuple[tuple[str, str, str], ...], said: str, **words: str) -> tuple[str, str] | None:
    """Cause and text of the first row that fits what was said, or None."""
    for pattern, cause, text in table:
        if re.search(pattern, said):
            return cause, text.format(said=last_line(said), **words)
    return None


def last_line(said: str) -> str:
    """The last line that says something, without control characters (terminals obey them), cut to 200 characters."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = "".join(c if c.isprintable() else " " for c in lines[-1]) if lines else "nothing said"
    return text[:200]
