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
