"""`edgekd gate`: reads its arguments, calls one function of `edgekd.gate`, prints; a verdict is an exit code."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli_output import Json, put, say

gate = typer.Typer(help="Compare a candidate with its baseline: red on real regressions, green otherwise.", no_args_is_help=True)

EXAMPLES = (
    "Examples: edgekd gate duel old.onnx new.onnx --metric latency_ms; "
    "edgekd gate duel model.onnx model.onnx@threads=2 --profile precise; "
    "edgekd gate duel old.tflite new.tflite --device raspberry-pi-5 --connect ssh:pi --json -. "
    "Exit codes: 0 pass or improved, 10 regressed, 11 inconclusive (with --strict), 12 unstable."
)


@gate.command(epilog=EXAMPLES)
def duel(
    baseline: Annotated[str, typer.Argument(help="Model file; MODEL@threads=2 is a model with other values.")],
    candidate: Annotated[str, typer.Argument(help="Model file to judge.")],
    metric: Annotated[list[str] | None, typer.Option(help="latency_ms, size_bytes; repeat it. Both if not given.")] = None,
    profile: Annotated[
        str, typer.Option(help="Tolerates / must catch: fast 2 / 10 %, default 0.5 / 2 %, precise 0.25 / 1 %.")
    ] = "default",
    device: Annotated[str, typer.Option(help="A profile's name.")] = "local",
    connect: Annotated[str | None, typer.Option(help="Where the device is: local, ssh:HOST or adb:SERIAL.")] = None,
    target: Annotated[str | None, typer.Option(help="Runtime; by the file's suffix if not given.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the order in which the two run in each block.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Inconclusive is red too.")] = False,
    json_file: Json = None,
) -> None:
    """Judge CANDIDATE against BASELINE, both run now, in interleaved blocks of fresh processes."""
    from dataclasses import asdict

    from edgekd.bench.jobs import Job
    from edgekd.bench.points import read_side
    from edgekd.gate.duel import METRICS
    from edgekd.gate.duel import duel as fight
    from edgekd.gate.sequential import find_profile
    from edgekd.gate.verdict import exit_code

    base = Job(model=Path(), device=device, connect=connect, target=target, threads=threads)
    pair = (read_side(baseline, base), read_side(candidate, base))
    found = fight([pair], metric or METRICS, find_profile(profile), seed)
    put(json_file, [asdict(comparison) for comparison in found])
    for comparison in found:
        say(f"{comparison.verdict:12} {comparison.text}")
    raise typer.Exit(exit_code([comparison.verdict for comparison in found], strict=strict))


@gate.command(epilog="Examples: edgekd gate selftest; edgekd gate selftest --blocks 300 --profile precise --json here.json")
def selftest(
    blocks: Annotated[int, typer.Option(min=12, help="To record; six processes each, some 3 s.")] = 100,
    duels: Annotated[int, typer.Option(min=1, help="To draw from them for each planted change.")] = 1000,
    profile: Annotated[str, typer.Option(help="fast, default or precise.")] = "default",
    device: Annotated[str, typer.Option(help="A profile's name.")] = "local",
    connect: Annotated[str | None, typer.Option(help="Where the device is: local, ssh:HOST or adb:SERIAL.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the order in blocks, and of the draws.")] = 0,
    json_file: Json = None,
) -> None:
    """How often this gate cries wolf on this machine, and what it finds: measured, with real slow-downs planted."""
    from edgekd.bench.jobs import Job
    from edgekd.console import Console
    from edgekd.gate.selftest import characteristic, record_bank
    from edgekd.gate.sequential import find_profile

    chosen = find_profile(profile)
    base = Job(model=Path(), device=device, connect=connect, target="onnxruntime", threads=threads)
    with Console().bar("recording", blocks) as bar:
        bank = record_bank(base, blocks, seed, lambda done, of: bar.at(done, "blocks"))
    found = characteristic(bank, chosen, duels, seed)
    put(json_file, {"profile": chosen.name, "blocks": blocks, "changes": found, "log_ratios": bank.ratios})
    for row in found:
        effect, shares = row["effect"], row["shares"]
        low, high = (f"{100 * value:+.2f}" for value in effect["interval"])
        say(
            f"{100 * effect['change']:+.2f} % ({low} to {high}): regressed {shares['REGRESSED']:.1%}, pass {shares['PASS']:.1%}, "
            f"improved {shares['IMPROVED']:.1%}, inconclusive {shares['INCONCLUSIVE']:.1%}; {row['mean_blocks']:.1f} blocks"
        )
