"""`edgekd bench`: reads its arguments, calls one function of `edgekd.bench`, prints."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli_output import Json, put, say

EXAMPLES = (
    "Examples: edgekd bench model.onnx --threads 1 --queries 2000 --json -; edgekd bench model.tflite --mode cold; "
    "edgekd bench model.onnx --streams 2 --price-per-hour 0.1; edgekd bench models/ --json all.json"
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
    plot: Annotated[Path | None, typer.Option(help="Write plots to this .html file.")] = None,
    json_file: Json = None,
) -> None:
    """Measure model files on a device: latency with the percentiles the samples allow, peak memory, size, energy."""
    from edgekd.bench.jobs import Job, model_files
    from edgekd.bench.operators import with_operators
    from edgekd.bench.points import read_pair, varied
    from edgekd.bench.settings import Use
    from edgekd.emulate.bench_count import check_counting, with_instructions
    from edgekd.report.bench_page import check_page, write_page
    from edgekd.report.bench_text import bench_text
    from edgekd.report.operators_report import operator_plot

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
    records = []
    for model in model_files(models):
        job = replace(base, model=model)
        records.append(with_operators(job, job.measure()) if operators else job.measure())
        if count_instructions:
            records[-1] = with_instructions(job, records[-1])
        say(bench_text(records[-1]))
    put(json_file, records[0] if len(records) == 1 else records)
    if plot is not None:
        write_page(
            plot,
            "where the time goes",
            [shown for record in records if (shown := operator_plot(record))],
            "\n\n".join(map(bench_text, records)),
        )
