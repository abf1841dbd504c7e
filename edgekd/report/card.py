"""The model card beside an artifact: what it is, how to feed it and read it, what was measured, how it was made.

The card is Markdown: user's texts pass through `markdown.escape`. Its snippets are generated from the contract by
`edgekd.report.snippets`.
"""

from typing import Any

from edgekd.report import figures, snippets, teaching
from edgekd.report.markdown import budget_table, escape, fidelity_table, table
from edgekd.report.templating import environment
from edgekd.types import Contract, TensorSpec

RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "tflite": "LiteRT (TensorFlow Lite)",
    "openvino": "OpenVINO",
    "coreml": "Core ML",
}
MOST_CHANNELS = 8
"""Whose normalisation the card spells out; features by the hundred are left to the contract."""


def model_card(entry: dict[str, Any], contract: Contract, report: dict[str, Any]) -> str:
    """The card of one entry of the report's `selected`, for the contract that its artifact carries."""
    trial = next((t for t in report["trials"] if t["candidate"] == entry["candidate"]), None)
    text = environment(autoescape=False).get_template("card.md.j2")
    return text.render(
        entry=entry,
        contract=contract,
        report=report,
        trial=trial,
        runtime=RUNTIMES.get(entry["target"], entry["target"]),
        figures=figures,
        signed=snippets.signed,
        escape=escape,
        verdict=figures.verdict(entry)[1],
        budget=budget_table(entry, report),
        fidelity=fidelity_table(entry, report),
        gains=[teaching.honest_words(h) for h in report.get("honest") or [] if h["candidate"] == entry["candidate"]],
        tensors=_tensors(contract),
        normalisation=_normalisation(contract),
        classes=table(["index", "class"], [[str(i), escape(name)] for i, name in enumerate(contract.classes)]),
        losses=_losses(report),
        snippets=snippets.snippets(entry["target"], entry["artifact"], contract),
    )


def _tensors(contract: Contract) -> str:
    def line(role: str, spec: TensorSpec) -> list[str]:
        shape = " × ".join(str(n) for n in spec.shape)
        scale = "" if spec.scale is None else f"real = (integer {snippets.signed(-(spec.zero_point or 0))}) · {spec.scale!r}"
        return [role, escape(spec.name), shape, spec.layout, spec.dtype, scale]

    lines = [line("input", spec) for spec in contract.inputs] + [line("output", spec) for spec in contract.outputs]
    return table(["", "name", "shape", "layout", "type", "integers"], lines)


def _normalisation(contract: Contract) -> str:
    """The formula with its numbers; one line a channel where a few channels differ."""
    pairs = list(zip(contract.mean, contract.std, strict=True))
    if len(set(pairs)) == 1:
        return f"input = (value / {contract.value_max!r} - {pairs[0][0]!r}) / {pairs[0][1]!r}"
    if len(pairs) > MOST_CHANNELS:
        return (
            f"input[c] = (value[c] / {contract.value_max!r} - mean[c]) / std[c], mean and std as in the contract beside the file"
        )
    lines = [f"input[{c}] = (value[{c}] / {contract.value_max!r} - {m!r}) / {s!r}" for c, (m, s) in enumerate(pairs)]
    return "\n   ".join(lines)


def _losses(report: dict[str, Any]) -> str:
    """The losses of the project as text; projects of other tools may have none."""
    losses = report["project"].get("distill", {}).get("losses", [])
    named = [loss for loss in losses if isinstance(loss, dict)]
    return "; ".join(", ".join(f"{escape(key)} {escape(value)}" for key, value in loss.items()) for loss in named)
