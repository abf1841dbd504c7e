"""`edgekd bench`: reads its arguments, calls one function of `edgekd.bench`, prints."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli_output import Json, put, say
from edgekd.errors import InputError

if TYPE_CHECKING:
    from edgekd.bench.jobs import Job, Record
    from edgekd.report.bench_page import Shown

EXAMPLES = (
    "Examples: edgekd bench model.onnx --threads 1 --queries 2000 --json -; edgekd bench model.tflite --mode cold; "
    "edgekd bench model.onnx --operators --plot where.html; edgekd bench --compare model.onnx model.tflite; "
    "edgekd bench models/ --sweep threads=1,2 --json all.json"
)


def bench(
    models: Annotated[list[Path], typer.Argument(help="Model files (.onnx, .tflite, .xml, .mlpackage), or folders of them.")],
    device: Annotated[str, typer.Option(help="A profile's name.")] = "local",
    connect: Annotated[str | None, typer.Option(help="Where the device is: local, ssh:HOST or adb:SERIAL.")] = None,
    target: Annotated[str | None, typer.Option(help="Runtime; by the file's suffix if not given.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    queries: Annotated[int | None, typer.Option(min=1, help="Exactly so many timed queries; of --mode cold: starts.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, max=3600, help="Longest time of the timed loops.")] = None,
    mode: Annotated[
        str, typer.Option(help="warm; cold (start); sustained (until steady or throttled); duty (a query now and then)")
    ] = "warm",
    every_ms: Annotated[float, typer.Option(help="Of --mode duty: a query so often.")] = 100.0,
    streams: Annotated[int, typer.Option(min=1, help="Models at work at once, each with its own threads.")] = 1,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples of one query.")] = None,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="Of the machine, for the cost of a million.")] = None,
    inputs: Annotated[
        str | None,
        typer.Option(help="random, samples (beside the model) or an .npy file; samples if not given and there are some."),
    ] = None,
    percentile: Annotated[float, typer.Option(min=50, max=99.99, help="Asked of the latency, beside p50 and p90.")] = 90.0,
    limit_ms: Annotated[float | None, typer.Option(min=0, help="Whether that percentile keeps this limit.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the runtime, such as graph-optimization=basic; repeat it.")
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="Where the time goes, in a run of its own.")] = False,
    count_instructions: Annotated[
        bool, typer.Option("--count-instructions", help="Of one inference, by QEMU: here (x86-64) and on emulated boards.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Models side by side, in interleaved blocks; MODEL@threads=2 is a model with other values."
        ),
    ] = False,
    blocks: Annotated[int, typer.Option(min=2, help="Of --compare.")] = 12,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2", help="All combinations: of threads, batch, streams, device, target, or an option; repeat it."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write plots to this .html file.")] = None,
    json_file: Json = None,
) -> None:
    """Measure model files on a device: latency with the percentiles the samples allow, peak memory, size, energy."""
    from edgekd.bench.jobs import Job, Record
    from edgekd.bench.operators import with_operators
    from edgekd.bench.points import read_pair, varied
    from edgekd.bench.settings import Use
    from edgekd.emulate.bench_count import check_counting, with_instructions
    from edgekd.report.bench_page import check_page, write_page

    use = Use(mode=mode, streams=streams, batch=batch, period_s=every_ms / 1000)  # type: ignore[arg-type]
    base = Job(
        model=Path(),
        device=device,
        connect=connect,
        target=target,
        threads=threads,
        queries=queries,
        seconds=seconds,
        inputs=inputs,
        use=use,
        price_per_hour=price_per_hour,
        percentile=percentile,
        limit_ms=limit_ms,
    )
    base = varied(base, dict(read_pair(text) for text in option or []))
    if plot is not None:
        check_page(plot)
    if count_instructions:
        check_counting(base)

    def measure(job: Job) -> Record:
        record = job.measure()
        if operators:
            record = with_operators(job, record)
        return with_instructions(job, record) if count_instructions else record

    if compare:
        if sweep or operators or count_instructions:
            raise InputError("--compare is of latencies alone: leave out --sweep, --operators and --count-instructions")
        result, text, shown = _compared(models, base, blocks)
    elif sweep:
        result, text, shown = _swept(models, base, sweep, measure)
    else:
        result, text, shown = _measured(models, base, measure)
    put(json_file, result)
    if plot is not None:
        write_page(plot, "edgekd bench", shown, text)


def _measured(models: list[Path], base: "Job", measure: "Callable[[Job], Record]") -> tuple[Any, str, "list[Shown]"]:
    from edgekd.bench.jobs import model_files
    from edgekd.report.bench_text import bench_text
    from edgekd.report.operators_report import operator_plots
    from edgekd.report.sweep_report import memory_plot

    records = []
    for model in model_files(models):
        records.append(measure(replace(base, model=model)))
        say(bench_text(records[-1]))
    named = [{"point": {"model": record["artifact"]}, **record} for record in records]
    text = "\n\n".join(bench_text(record) for record in records)
    return records[0] if len(records) == 1 else records, text, [*operator_plots(records), *memory_plot(named)]


def _swept(
    models: list[Path], base: "Job", axes: list[str], measure: "Callable[[Job], Record]"
) -> tuple[Any, str, "list[Shown]"]:
    from edgekd.bench.jobs import model_files
    from edgekd.bench.sweep import read_axes, sweep
    from edgekd.report.operators_report import operator_plots
    from edgekd.report.sweep_report import point_text, sweep_plots, sweep_text

    jobs = [replace(base, model=model) for model in model_files(models)]
    records = sweep(jobs, read_axes(axes), measure, lambda done, of, record: say(f"{done}/{of}  {point_text(record)}"))
    text = sweep_text(records)
    say(text)
    return records, text, [*sweep_plots(records), *operator_plots(records)]


def _compared(models: list[Path], base: "Job", blocks: int) -> tuple[Any, str, "list[Shown]"]:
    from edgekd.bench.compare import compare
    from edgekd.bench.points import read_side
    from edgekd.report.compare_text import compare_plot, compare_text

    labels = [str(model) for model in models]
    record = compare(labels, [read_side(label, base) for label in labels], blocks)
    text = compare_text(record)
    say(text)
    return record, text, [compare_plot(record)]
