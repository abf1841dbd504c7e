"""Code that loads an artifact and feeds it as its contract says: Python, C++, Kotlin, Swift.

Each snippet takes raw values as image libraries give them (row by row, channels interleaved: H × W × C), or the F features
of a sample, and answers with a class. Resizing, normalisation, layout and integer scales come from the contract. Rounding is
half to even everywhere, as in NumPy.
"""

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edgekd.report.templating import environment
from edgekd.types import Contract, TensorSpec

LANGUAGES = {
    "onnxruntime": ("python", "cpp"),
    "openvino": ("python", "cpp"),
    "tflite": ("kotlin", "python"),
    "coreml": ("swift",),
}
TITLES = {"python": "Python", "cpp": "C++", "kotlin": "Kotlin", "swift": "Swift"}
TYPES = {
    "python": {"float32": "np.float32", "float16": "np.float16", "int8": "np.int8", "uint8": "np.uint8"},
    "cpp": {"float32": "float", "int8": "std::int8_t", "uint8": "std::uint8_t"},
    "kotlin": {"float32": "Float", "int8": "Byte", "uint8": "Byte"},
    "swift": {"float32": "Float", "float16": "Float16"},
}
LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True, kw_only=True)
class Snippet:
    title: str
    language: str
    code: str

    @property
    def fenced(self) -> str:
        """As a Markdown code block, whose fence is longer than any run of backticks in the code."""
        longest = max((len(run) for run in re.findall("`+", self.code)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}{self.language}\n{self.code.rstrip()}\n{fence}"


def snippets(target: str, artifact: str, contract: Contract) -> list[Snippet]:
    """Those of the target's languages that have the artifact's number types; none for a target that edgekd does not ship."""
    if not contract.inputs or not contract.outputs:
        return []
    wanted = {contract.inputs[0].dtype, contract.outputs[0].dtype}
    return [
        Snippet(title=TITLES[language], language=language, code=_code(language, target, artifact, contract))
        for language in LANGUAGES.get(target, ())
        if wanted <= TYPES[language].keys()
    ]


def _code(language: str, target: str, artifact: str, contract: Contract) -> str:
    """Render `snippets/<language>_<target>.j2`."""
    template = environment(autoescape=False).get_template(f"snippets/{language}_{target}.j2")
    source, given, answer = contract.shape, contract.inputs[0], contract.outputs[0]
    flat = len(source) == 1
    height, width = (1, 1) if flat else contract.image_size or source[1:]
    return template.render(
        text=lambda value: literal(language, value),
        texts=lambda values, indent=4: wrapped([literal(language, value) for value in values], indent),
        numbers=lambda values: wrapped([number(language, value) for value in values]),
        number=lambda value: number(language, value),
        model=PurePosixPath(artifact).name,
        contract=contract,
        greatest=f"{contract.value_max:g}",
        flat=flat,
        channels=source[0],
        height=height,
        width=width,
        resize=not flat and contract.image_size is not None,
        input=_tensor(language, given),
        output=_tensor(language, answer),
    )


def _tensor(language: str, spec: TensorSpec) -> dict[str, Any]:
    """The tensor as the template uses it: integers have a scale and limits, others have none."""
    low, high = LIMITS.get(spec.dtype, (0, 0))
    return {
        "name": spec.name,
        "shape": spec.shape,
        "layout": spec.layout,
        "dtype": spec.dtype,
        "type": TYPES[language][spec.dtype],
        "scale": spec.scale,
        "plus": signed(spec.zero_point or 0),
        "minus": signed(-(spec.zero_point or 0)),
        "low": low,
        "high": high,
    }


def literal(language: str, value: str) -> str:
    """A string literal; control characters become spaces, which no label needs and not every language can write."""
    text = json.dumps("".join(c if c.isprintable() else " " for c in value), ensure_ascii=False)
    return text.replace("$", "\\$") if language == "kotlin" else text


def number(language: str, value: float) -> str:
    """A 32-bit float literal."""
    return f"{float(value)!r}f" if language in ("cpp", "kotlin") else repr(float(value))


def signed(value: int) -> str:
    """`+ 3` or `- 3`: what follows a term."""
    return f"{'-' if value < 0 else '+'} {abs(value)}"


def wrapped(items: list[str], indent: int = 4, width: int = 100) -> str:
    """Items with commas between, on lines of about `width` columns; all but the first are indented here."""
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > width:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{item}"
    return f",\n{' ' * indent}".join(lines)
