"""The commands about devices; `edgekd devices` alone lists them."""

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
