"""The commands. Each reads its arguments, calls one function of the library, and prints; heavy imports are inside."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli_bench import EXAMPLES, bench
from edgekd.cli_devices import devices
from edgekd.cli_gate import gate
from edgekd.cli_output import Json, put, say
from edgekd.errors import InputError, storage_errors

if TYPE_CHECKING:
    from edgekd.workers import Workers

app = typer.Typer(
    name="edgekd",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Teacher, device and budget in; a distilled, built, verified and measured artifact out. Begin with: edgekd demo",
)

Out = Annotated[Path, typer.Option("--out", help="Folder to write to; a run that was stopped goes on there.")]
app.add_typer(devices, name="devices")
app.add_typer(gate, name="gate")
app.command(name="bench", epilog=EXAMPLES)(bench)


@app.command(epilog="Example: edgekd demo --out run")
def demo(out: Out = Path("demo-run"), json_file: Json = None) -> None:
    """Distil a digits teacher into students for all four targets, in about a minute, without a download."""
    from edgekd.demo import demo_project
    from edgekd.pipeline import distill as run

    put(json_file, run(demo_project(), out))


@app.command(
    epilog="Examples: edgekd distill --init; edgekd distill project.toml --out run; "
    "edgekd distill project.toml --tune 12; edgekd distill project.toml --honest --seeds 5; "
    "edgekd distill project.toml --workers 4; edgekd distill project.toml --ray auto"
)
def distill(
    project: Annotated[Path | None, typer.Argument(help="The project file.")] = None,
    out: Out = Path("run"),
    init: Annotated[bool, typer.Option("--init", help="Write a commented project.toml that runs as it is.")] = False,
    replay: Annotated[Path | None, typer.Option(help="Take recorded measurements from this run instead of measuring.")] = None,
    verify_cache: Annotated[
        bool, typer.Option("--verify-cache", help="Recompute random rows of the teacher cache first.")
    ] = False,
    tune: Annotated[
        int | None, typer.Option(min=2, help="Search temperature, weights and learning rate by so many short trainings.")
    ] = None,
    honest: Annotated[
        bool,
        typer.Option("--honest", help="Compare with the same student trained without a teacher, as long and as many epochs."),
    ] = False,
    seeds: Annotated[int | None, typer.Option(min=3, help="Of --honest: trainings of each kind; 3 if not given.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Train, rate and build in so many processes; measuring stays in this one.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT."),
    ] = None,
    json_file: Json = None,
) -> None:
    """Search, distil, build, verify and measure; the best artifact within budget for each device of the project."""
    if init:
        _write_template(project or Path("project.toml"))
        return
    if project is None:
        raise InputError("distill needs a project file; write one with: edgekd distill --init")
    if seeds is not None and not honest:
        raise InputError("--seeds is of a comparison: give --honest too")
    from edgekd.pipeline import distill as run
    from edgekd.project import read_project, with_tuning

    read = read_project(project)
    chosen = read if tune is None else with_tuning(read, tune)
    compared = (seeds or 3) if honest else None
    ahead = _workers(workers, ray)
    put(json_file, run(chosen, out, replay=replay, verify_cache=verify_cache, honest=compared, workers=ahead))


def _workers(count: int | None, address: str | None) -> "Workers | None":
    """Who computes ahead; None is nobody."""
    if count is not None and address is not None:
        raise InputError("--workers are processes of this machine, --ray those of a cluster: give one of them")
    if count is not None:
        from edgekd.workers.processes import Processes

        return Processes(count)
    if address is not None:
        from edgekd.workers.on_ray import OnRay

        return OnRay(address)
    return None


@app.command(epilog="Example: edgekd export run --candidate resnet-0123456789 --target coreml --precision fp16 --out shipped")
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    target: Annotated[str, typer.Option(help="Runtime to build for.")],
    candidate: Annotated[str | None, typer.Option(help="A trained student of the run; the selected one if not given.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16, w8, w4, w8a8, w8a8-dynamic")] = "fp32",
    out: Out = Path("exported"),
    json_file: Json = None,
) -> None:
    """Build one student of a finished run again, for any target and precision, verified on the validation split."""
    from edgekd.export import export_student

    record = export_student(run, candidate, target, precision, out)
    put(json_file, record)
    say(f"{out / record['artifact']}: {record['size_bytes']:,} bytes, agreement {record['fidelity']['agreement']:.2%}")


@app.command(epilog="Examples: edgekd verify run; edgekd verify run --connect ssh:pi")
def verify(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    connect: Annotated[str | None, typer.Option(help="Run them on the device there: ssh:HOST or adb:SERIAL.")] = None,
    json_file: Json = None,
) -> None:
    """Verify the selected artifacts of a run once more: same files, same answers as their students."""
    from edgekd.export import verify_selected

    results = verify_selected(run, connect)
    put(json_file, results)
    for result in results:
        agreement, accuracy = result["fidelity"]["agreement"], result["accuracy"]["artifact"]
        say(f"{result['artifact']}: agreement {agreement:.2%}, accuracy {accuracy:.4f}")


@app.command(epilog="Example: edgekd report run")
def report(run: Annotated[Path, typer.Argument(help="A run's folder.")], json_file: Json = None) -> None:
    """Render a run's report.html and report.md again from its report.json."""
    from edgekd.report import read_report, write_report

    document = read_report(run / "report.json")
    paths = write_report(document, run)
    put(json_file, document)
    say("\n".join(str(path) for path in paths))


@app.command()
def targets(json_file: Json = None) -> None:
    """List the runtimes that edgekd can build for."""
    from edgekd.plugins import find_target, target_names

    found = [find_target(name) for name in target_names()]
    put(json_file, [{"name": t.name, "precisions": list(t.precisions), "extra": t.extra} for t in found])
    for target in found:
        say(f"{target.name:14} {', '.join(target.precisions)}")


@app.command()
def doctor(
    addresses: Annotated[list[str] | None, typer.Argument(help="Devices to look at; those of devices.toml if not given.")] = None,
    json_file: Json = None,
) -> None:
    """Say what works here and on each device, what is missing, and the command that mends it."""
    from edgekd.doctor import examine
    from edgekd.doctor_device import examine_devices, noted_addresses

    lines = examine() + examine_devices(addresses or noted_addresses())
    put(json_file, lines)
    for line in lines:
        say(f"{line.get('device', 'here'):20} {line['name']:20} {line['state']:12} {line['text']}")


def _write_template(path: Path) -> None:
    from edgekd.project import template

    if path.exists():
        raise InputError(f"{path} exists already: remove it, or name another: edgekd distill --init other.toml")
    with storage_errors(str(path)):
        path.write_text(template(), encoding="utf-8")
    say(f"wrote {path}; run it with: edgekd distill {path} --out run")
