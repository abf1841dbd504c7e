"""The lab's folder: `EDGEKD_LAB` where several users share a machine's devices, else the user's own state folder.

A shared one belongs to a group: `install -d -m 2770 -g GROUP FOLDER`; what edgekd puts there its group may write.
"""

import os
from pathlib import Path

import platformdirs


def lab_folder() -> Path:
    chosen = os.environ.get("EDGEKD_LAB")
    return Path(chosen) if chosen else platformdirs.user_state_path("edgekd")


def is_shared() -> bool:
    return bool(os.environ.get("EDGEKD_LAB"))


def open_shared(path: Path, flags: int) -> int:
    """As `os.open`, for a file that the folder's group may write: the lab's folder, not the umask, decides who gets there."""
    file = os.open(path, flags, 0o660)
    if is_shared() and os.fstat(file).st_uid == os.geteuid():
        os.fchmod(file, 0o660)
    return file
