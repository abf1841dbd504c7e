"""The command `edgekd`: run it, and turn what it raises into a message and an exit code."""

import os
import sys
import tempfile
import traceback

from edgekd.errors import EdgekdError

INTERRUPTED = 130


def main() -> None:
    """Entry point. Expected errors are one or two lines; unexpected ones leave their traceback in a file."""
    from edgekd.cli import app

    try:
        # typer turns Ctrl-C into a return value.
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if isinstance(code, int) and code:  # a verdict
            sys.exit(code)
    except EdgekdError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from here", INTERRUPTED)
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        import typer

        if isinstance(error, typer.Abort):
            _fail("interrupted; the same command goes on from here", INTERRUPTED)
        # Of click, or of the copy of click that newer versions of typer bring along: typer exports its heirs only.
        usage_error = typer.BadParameter.__mro__[1]
        if isinstance(error, usage_error):
            _fail(error.format_message(), 2)  # type: ignore[attr-defined]
        if isinstance(error, MemoryError):
            _fail("out of memory: lower [distill] batch_size or [data] limit", 1)
        _fail(f"internal error: {type(error).__name__}; traceback: {_save_traceback()}", 1)


def _fail(message: str, code: int) -> None:
    lines = [line for line in message.splitlines() if line.strip()]
    print("edgekd: " + " ".join(lines)[:1000], file=sys.stderr)  # noqa: T201
    sys.stdout.flush()
    # A converter's threads must not hold up, or crash, an end that is decided.
    os._exit(code)


def _save_traceback() -> str:
    handle, path = tempfile.mkstemp(prefix="edgekd-error-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        traceback.print_exc(file=file)
    return path


if __name__ == "__main__":
    main()
