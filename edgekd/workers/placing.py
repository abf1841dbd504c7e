"""Files of a packet put in place: each is whole on the disk before it gets its name."""

import os
from collections.abc import Mapping
from pathlib import Path

from edgekd.errors import InputError


def place_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files below `folder`, replacing what is there. Raises InputError where a link would lead them out of it."""
    for name, content in contents.items():
        path = folder / name
        check_inside(folder, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.arriving")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    for parent in {(folder / name).parent for name in contents}:
        sync_folder(parent)


def check_inside(folder: Path, path: Path) -> None:
    """Raises InputError where the nearest existing folder above `path` lies, through links, outside of `folder`."""
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} leads out of {folder} through a link: remove the link, or choose another --out")


def sync_folder(folder: Path) -> None:
    """Make renames in it last: without this a name may be gone after a power cut though the record of it is not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
