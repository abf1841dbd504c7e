"""The commands about devices; `edgekd devices` alone lists them."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli_output import Json, put, say

devices = typer.Typer(add_completion=False, rich_markup_mode=None, help="List the devices that edgekd has facts about.")


@devices.callback(invoke_without_command=True)
def listed(context: typer.Context, json_file: Json = None) -> None:
    """List the devices that edgekd has facts about."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from edgekd.device import device_names, find_device

    found = [find_device(name) for name in device_names()]
    put(json_file, [asdict(device) for device in found])
    for device in found:
        say(f"{device.name:22} {device.os:8} {device.arch:8} {', '.join(device.targets)}")


@devices.command()
def probe(
    address: str = typer.Argument("local", help="local, ssh:HOST or adb:SERIAL."),
    write: str | None = typer.Option(None, help="Keep it as a profile of this name."),
    json_file: Json = None,
) -> None:
    """Read a live device, and write its profile."""
    from dataclasses import asdict

    from edgekd.probe import probe_address, profile_text, save

    found = probe_address(address)
    put(json_file, asdict(found))
    say(profile_text(found) if write is None else f'wrote {save(found, write)}; use it as: device = "{write}"')


@devices.command(epilog="Examples: edgekd devices setup ssh:pi --runtime onnxruntime; edgekd devices setup ssh:pi --remove")
def setup(
    address: Annotated[str, typer.Argument(help="ssh:HOST or adb:SERIAL.")],
    runtime: Annotated[list[str] | None, typer.Option(help="A target's runtime; more than once for several.")] = None,
    index_url: Annotated[str | None, typer.Option(help="The device's own pip fetches from there.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what setup put there.")] = False,
    json_file: Json = None,
) -> None:
    """Put the runtimes onto a device, in a private folder that edgekd's runs there use; it needs no network of its own."""
    from edgekd.bench.setup_board import remove_setup, setup_device_at

    found = remove_setup(address) if remove else setup_device_at(address, runtime or (), index_url=index_url, say=say)
    put(json_file, found)
    say(f"{address}: {found['state']} {', '.join(' '.join(pair) for pair in found['versions'].items())}".rstrip())


@devices.command()
def status(json_file: Json = None) -> None:
    """Every known device: does it answer, who has it, who waits for it, when was it there last."""
    import time

    from edgekd.lab.status import lines
    from edgekd.lab.status import status as states

    found = states()
    put(json_file, found)
    say("\n".join(lines(found, time.time())))


@devices.command()
def results(
    device: Annotated[str | None, typer.Option(help="Of this device only.")] = None,
    json_file: Json = None,
) -> None:
    """The last thousand measurements of the shared lab that EDGEKD_LAB names, the newest first."""
    from edgekd.lab.results import results as kept
    from edgekd.lab.status import result_lines

    found = kept(device)
    put(json_file, found)
    say("\n".join(result_lines(found)))


@devices.command(
    epilog="Examples: edgekd devices emulate pi5; edgekd devices emulate pi5 --adb; edgekd devices emulate pi5 --stop"
)
def emulate(
    board: Annotated[str, typer.Argument(help="pi4 or pi5.")],
    out: Annotated[Path | None, typer.Option(help="The board's folder; emulated-BOARD-ARCH if not given.")] = None,
    arch: Annotated[str, typer.Option(help="arm64 or armhf.")] = "arm64",
    adb: Annotated[bool, typer.Option("--adb", help="Start adbd too.")] = False,
    bare: Annotated[bool, typer.Option("--bare", help="Without runtimes, as boards come.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Return when it is up; end it with --stop.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the board of that folder.")] = False,
    mirror: Annotated[str | None, typer.Option(help="Debian archive to build from; apt's if not given.")] = None,
    json_file: Json = None,
) -> None:
    """Run an emulated ARM board, reached by ssh (and adb) on loopback, until Ctrl-C. Its timings are not a real board's."""
    from edgekd.emulate.command import emulate_board, stop_board

    folder = out or Path(f"emulated-{board}-{arch}")
    if stop:
        put(json_file, stop_board(folder))
        return
    emulate_board(
        board, folder, arch, adb=adb, bare=bare, background=background, archive=mirror, say=say, put=lambda r: put(json_file, r)
    )
