"""What commands print: results as JSON where they are asked for, words to people on standard error."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.errors import storage_errors

Json = Annotated[str | None, typer.Option("--json", help="Write the result as JSON to this file; - is standard output.")]


def put(json_file: str | None, result: Any) -> None:
    if json_file is None:
        return
    text = json.dumps(result, indent=1, default=str)
    if json_file == "-":
        sys.stdout.write(text + "\n")
        return
    with storage_errors(json_file):
        Path(json_file).write_text(text + "\n", encoding="utf-8")


def say(text: str) -> None:
    typer.echo(text, err=True)
