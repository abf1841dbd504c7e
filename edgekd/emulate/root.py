"""A board's root file system: a small Debian, unpacked without running any of its programs.

mmdebstrap's variant `extract` only unpacks packages; what their scripts would have done is done here by hand.
"""

import shutil
import subprocess
from pathlib import Path

from edgekd.emulate.boards import Arch
from edgekd.errors import DeviceError, InputError, first_line

SUITE = "bookworm"
"""Debian 12: Python 3.11 and glibc 2.36, for which all three runtimes have wheels."""
BACKPORTS = f"{SUITE}-backports"
BUILD_SECONDS = 900
PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname", "libc-bin", "procps"),
    *("sed", "tar", "libgcc-s1", "libstdc++6", "python3", "python3-minimal", "python3-venv"),
    *("openssh-server", "openssh-sftp-server"),
)
ADBD = ("adbd", "android-libcutils", "android-libbase", "android-liblog", "android-libboringssl")
ONLY_ARMHF = ("python3-numpy",)
"""The index has no armhf wheel of numpy; Debian's is 1.24, which tflite-runtime takes."""
EXCLUDED = (
    *(f"/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "perl", "perl5", "lintian", "bug", "zoneinfo")),
    *("/usr/lib/*/perl/*", "/usr/lib/*/perl-base/*", "/usr/lib/*/perl5/*", "/usr/lib/*/gconv/*", "/usr/lib/*/libperl.so*"),
    *("/usr/lib/python3.11/pydoc_data/*", "/usr/lib/python3.11/idlelib/*", "/usr/lib/python3.11/lib2to3/*"),
    *("/usr/bin/perl*", "/usr/bin/dpkg*", "/usr/bin/apt*", "/usr/bin/localedef", "/usr/lib/*/libicu*", "/usr/lib/*/libgprofng*"),
)
FOLDERS = ("data/local/tmp", "dev/pts", "dev/shm", "opt", "plugin", "proc", "run/sshd", "sys", "tmp", "var/log", "work")
PLUGINS = ("roi", "loopback")
"""The host's libraries for QEMU (`native.py`) that a board sees as /plugin/NAME.so."""
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
HOST_LIBRARIES = ("lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
"""Where the host's libraries are laid over for a QEMU that is linked dynamically; Debian's names for ARM do not collide."""
LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
}
LINKS |= {"dev/ptmx": "pts/ptmx", "usr/bin/python": "python3"}


def mirror() -> str:
    """The Debian archive that this host's apt uses. Raises InputError where it uses none."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [uri for line in lines for origin, _, uri in [line.partition("|")] if origin == "Debian" and "security" not in uri]
    if not found:
        raise InputError("this host's apt knows no Debian archive to build a board from: name one with --mirror URL")
    return found[0]


def build_root(root: Path, arch: Arch, archive: str) -> None:
    """Unpack and prepare the root in a folder that does not exist yet. Takes about 40 s and 60 MB from the archive.

    Raises DeviceError with what mmdebstrap said.
    """
    names = [*PACKAGES, *(f"{name}/{BACKPORTS}" for name in ADBD), *(ONLY_ARMHF if arch == "armhf" else ())]
    argv = ["mmdebstrap", "--quiet", f"--architectures={arch}", "--variant=extract", "--mode=root"]
    argv += ["--skip=check/qemu,cleanup/apt", f"--include={','.join(names)}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    argv += [SUITE, str(root), f"deb {archive} {SUITE} main", f"deb {archive} {BACKPORTS} main"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"mmdebstrap was not done after {BUILD_SECONDS} s; is the Debian archive reachable?") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err:"))] or [done.stderr]
        raise DeviceError(f"mmdebstrap could not build the root: {first_line(RuntimeError(said[0]))}")
    _finish(root)


def _finish(root: Path) -> None:
    """What the packages' own scripts would have done, as far as a board needs it."""
    for name in ("var/lib/apt/lists", "var/cache/apt", "boot", "media", "mnt", "srv"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in (*FOLDERS, *HOST_LIBRARIES):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in (*(f"dev/{name}" for name in DEVICES), *(f"plugin/{name}.so" for name in PLUGINS)):
        (root / name).unlink(missing_ok=True)
        (root / name).touch()
    for name, target in LINKS.items():
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    _accounts(root)
    for name in ("lastlog", "wtmp"):
        (root / "var/log" / name).touch()
    (root / "tmp").chmod(0o1777)
    (root / "data/local/tmp").chmod(0o777)
    # The host's ldconfig writes the cache for foreign libraries as well as its own.
    subprocess.run(["ldconfig", "-r", str(root)], capture_output=True, check=False)


def _accounts(root: Path) -> None:
    """Users and groups as base-passwd and openssh-server make them; nobody has a password."""
    masters, etc = root / "usr/share/base-passwd", root / "etc"
    passwd = (masters / "passwd.master").read_text().replace("root:*:", "root:x:", 1)
    (etc / "passwd").write_text(passwd + "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
    shutil.copyfile(masters / "group.master", etc / "group")
    (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    (etc / "shadow").chmod(0o600)
    (etc / "hostname").write_text("edgekd-board\n")
    (etc / "hosts").write_text("127.0.0.1 localhost edgekd-board\n")
    (root / "root").chmod(0o700)
