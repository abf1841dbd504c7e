"""An OpenVINO model on disk, `.xml` and `.bin`: read without trust, written the same way every time."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from edgekd.artifact import files_of
from edgekd.errors import InputError, first_line, storage_errors
from edgekd.plugins import need, reading
from edgekd.types import Contract

RT_INFO = ["edgekd", "contract"]
FORMAT = "an OpenVINO model"
PLACES = ("Exception from ", "Check '", "FrontEnd API failed", "Model wasn't fully converted")
NEEDED_BY = "target 'openvino'"


def cause(error: BaseException) -> str:
    """What OpenVINO says is wrong, without the places in its source that its texts begin with."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(PLACES)]
    unknown = [line for line in telling if line.startswith("No conversion rule found")]
    return ([*unknown, *telling] or [first_line(error)])[0][:300]


def read(path: Path) -> Any:
    """The openvino.Model at `path`, with the weights beside it and from nowhere else. Raises InputError."""
    ov = need("openvino", "openvino", NEEDED_BY)
    if path.suffix != ".xml":
        raise InputError(f"{path}: cannot be read as {FORMAT}: expected a name that ends in .xml")
    for _, file in files_of(path):
        if file.is_symlink() or not file.is_file():
            raise InputError(f"{path}: cannot be read as {FORMAT}: {file.name} is missing, or is a link")
    with reading(path, FORMAT, cause):
        return ov.Core().read_model(path, path.with_suffix(".bin"))


def write(model: Any, path: Path, contract: Contract, *, half: bool = False) -> None:
    """Write the model with its contract, weights in float16 if `half`.

    Names are counted through: OpenVINO numbers operators by how many the process has made so far. A new Model drops what
    the converters note about themselves. Indentation, a fifth of a small student's `.xml`, goes: a `<` that follows
    space is markup, in values it is written `&lt;`.
    """
    ov = need("openvino", "openvino", NEEDED_BY)
    model = ov.Model(model.get_results(), model.get_parameters(), "edgekd")
    for index, operator in enumerate(model.get_ordered_ops()):
        operator.set_friendly_name(f"{operator.get_type_name()}_{index}")
    model.set_rt_info(contract.to_json(), RT_INFO)
    with storage_errors(str(path)):
        ov.save_model(model, path, compress_to_fp16=half)
        path.write_bytes(re.sub(rb">\s+<", b"><", path.read_bytes()))


def contract(path: Path) -> Contract:
    """The contract in the model's rt_info. Raises InputError where there is none."""
    model = read(path)
    if not model.has_rt_info(RT_INFO):
        raise InputError(f"{path}: has no rt_info '{'.'.join(RT_INFO)}': it was not built by edgekd")
    with reading(path, FORMAT, cause):
        return Contract.from_json(model.get_rt_info(RT_INFO).astype(str))


def operators(path: Path) -> dict[str, int]:
    """How often each operator occurs, constants left out."""
    model = read(path)
    with reading(path, FORMAT, cause):
        names = [operator.get_type_name() for operator in model.get_ops()]
    return dict(sorted(Counter(name for name in names if name not in ("Constant", "Parameter", "Result")).items()))
