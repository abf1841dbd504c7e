"""`project.toml`, read strictly: what a user asks for, as frozen values.

The tables are dataclasses beside what they set (`DataSettings`, `Recipe`, `Budget`); this file reads them, names what is
wrong in one line, and offers the nearest key. A project is its author's own code: `module:name` in it is imported.
"""

import json
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from edgekd.data.settings import DataSettings
from edgekd.distill.recipe import Recipe
from edgekd.errors import InputError, did_you_mean
from edgekd.types import Budget, Precision, Scalar, digest

T = TypeVar("T")
FEWEST_RANKED = 8
"""Students that a rank correlation is computed over."""


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """A `[teacher]` table; `[[teacher]]`, once for each, where several teach together."""

    model: str
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """The `[students]` table: a family, the values its axes may take where not the family's own, a limit on parameters."""

    family: str = "resnet"
    axes: dict[str, tuple[Scalar, ...]] = field(default_factory=dict)
    max_params: int | None = None


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The `[search]` table.

    Method `separate`: `trials` candidates are screened, survivors train `rung_epochs`, the best `finalists` train fully.
    Method `supernet`: all students of the space train together, one of them a `step` in turn, or four by the sandwich rule;
    `measured` of them are measured for each deployment and precision to predict the others; `finalists` in all train
    `fine_tuning_epochs` more, from the supernet's weights or, as `finalists_from` may say, from fresh ones. The `coupled`
    space is gone through; in the `free` one `trials` students are rated, as an evolutionary search proposes them.
    `ranking` students train alone too, to say how well the supernet ranks them; 0 does without.
    By either method each deployment has one finalist at least.
    """

    method: Literal["separate", "supernet"] = "separate"
    space: Literal["coupled", "free"] = "coupled"
    step: Literal["turns", "sandwich"] = "turns"
    trials: int = 12
    seed: int = 0
    rung_epochs: int | None = None
    fine_tuning_epochs: int | None = None
    finalists_from: Literal["supernet", "scratch"] = "supernet"
    finalists: int = 1
    measured: int = 12
    ranking: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "finalists", "measured"):
            if not 1 <= getattr(self, name) <= 10_000:
                raise InputError(f"[search] {name} is {getattr(self, name)}, expected a whole number from 1")
        if self.ranking != 0 and not FEWEST_RANKED <= self.ranking <= 10_000:
            raise InputError(f"[search] ranking is {self.ranking}, expected 0 or {FEWEST_RANKED} and more")
        if self.fine_tuning_epochs is not None and self.fine_tuning_epochs < 1:
            raise InputError(f"[search] fine_tuning_epochs is {self.fine_tuning_epochs}, expected a whole number from 1")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"[search] seed is {self.seed}, expected 0 to 2147483647")
        if self.rung_epochs is not None and self.rung_epochs < 1:
            raise InputError(f"[search] rung_epochs is {self.rung_epochs}, expected a whole number from 1")


@dataclass(frozen=True, kw_only=True)
class Deploy(Budget):
    """A `[[deploy]]` table: a device, its runtime, and the budget there."""

    device: str = "local"
    target: str | None = None
    connect: str | None = None
    precisions: tuple[str, ...] | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.precisions or ():
            Precision.parse(text)
        if self.precisions == ():
            raise InputError("[[deploy]] precisions is empty: name at least one, or leave the line out")
        if not 1 <= self.threads <= 1024:
            raise InputError(f"[[deploy]] threads is {self.threads}, expected a whole number from 1")

    @property
    def budget(self) -> Budget:
        return Budget(**{item.name: getattr(self, item.name) for item in fields(Budget)})


@dataclass(frozen=True, kw_only=True)
class Project:
    """A whole project file. `base` is its folder, which its paths and modules are relative to; `raw` what was written."""

    data: DataSettings
    teachers: tuple[TeacherSettings, ...]
    distill: Recipe
    students: StudentSettings
    search: SearchSettings
    deploy: tuple[Deploy, ...]
    base: Path
    raw: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return digest(self.raw)

    @property
    def rung_epochs(self) -> int:
        """Epochs of the short training that ranks survivors: a fifth of the full one unless the project says."""
        return min(self.distill.epochs, self.search.rung_epochs or max(1, self.distill.epochs // 5))

    @property
    def fine_tuning_epochs(self) -> int:
        """Of a student that was cut out of a supernet: a fifth of the full training unless the project says."""
        return self.search.fine_tuning_epochs or max(1, self.distill.epochs // 5)

    @property
    def views(self) -> int:
        """Views of each sample that the teacher is asked about: one for each epoch of the longest training, at most as set."""
        longest = self.distill.epochs
        if self.search.method == "supernet":
            longest = max(longest, self.fine_tuning_epochs)
        return min(self.distill.views, longest)


TABLES = ("data", "teacher", "distill", "students", "search", "deploy")


def read_project(path: Path) -> Project:
    """Read and check a project file. Raises InputError that names the file, the table and the key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; write one with: edgekd distill --init") from error
    except (ValueError, RecursionError) as error:  # beside TOML's and Unicode's own: numbers of 5,000 digits, deep nesting
        raise InputError(f"{path}: is not TOML: {str(error).splitlines()[0]}") from error
    try:
        return make_project(raw, path.resolve().parent)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def make_project(raw: dict[str, Any], base: Path) -> Project:
    """A project from its tables. Raises InputError."""
    if not raw:
        raise InputError("is empty; write one with: edgekd distill --init")
    for key in raw:
        if key not in TABLES:
            raise InputError(f"there is no table [{key}]" + did_you_mean(key, TABLES))
    for key in ("data", "teacher", "deploy"):
        if key not in raw:
            raise InputError(f"table [{key}] is missing")
    deploys = raw["deploy"]
    if not isinstance(deploys, list) or not deploys:
        raise InputError("[[deploy]] is written with two brackets, once for each device")
    return Project(
        data=_table(DataSettings, raw["data"], "[data]"),
        teachers=tuple(_table(TeacherSettings, item, "[teacher]") for item in _listed(raw["teacher"])),
        distill=_table(Recipe, _with_scheme(_with_losses(raw.get("distill", {}))), "[distill]"),
        students=_table(StudentSettings, raw.get("students", {}), "[students]"),
        search=_table(SearchSettings, raw.get("search", {}), "[search]"),
        deploy=tuple(_table(Deploy, item, "[[deploy]]") for item in deploys),
        base=base,
        raw=raw,
    )


def with_tuning(project: Project, trials: int) -> Project:
    """The project as if its file said `[distill] tune_trials`."""
    return make_project({**project.raw, "distill": {**project.raw.get("distill", {}), "tune_trials": trials}}, project.base)


def _listed(table: Any) -> list[Any]:
    """One table, or an array of them."""
    if table == []:
        raise InputError("[[teacher]] is empty: name at least one")
    return table if isinstance(table, list) else [table]


def _with_losses(table: Any) -> Any:
    """`{name, weight, temperature, …}` as written becomes `{name, weight, numbers}`."""
    if not isinstance(table, dict) or not isinstance(table.get("losses"), list):
        return table
    losses = []
    for item in table["losses"]:
        if not isinstance(item, dict) or "name" not in item:
            raise InputError('[distill] losses: each is written as { name = "soft_targets", weight = 0.9, … }')
        numbers = {key: value for key, value in item.items() if key not in ("name", "weight")}
        losses.append({"name": item["name"], "weight": item.get("weight", 1.0), "numbers": numbers})
    return {**table, "losses": losses}


def _with_scheme(table: Any) -> Any:
    """`"chain"`, or `{name, assistants, …}`, as written becomes `{name, numbers}`; `taps = "auto"` is the default."""
    if not isinstance(table, dict):
        return table
    table = {key: value for key, value in table.items() if (key, value) != ("taps", "auto")}
    if "scheme" not in table:
        return table
    scheme = table["scheme"]
    if isinstance(scheme, str):
        scheme = {"name": scheme}
    if not isinstance(scheme, dict) or "name" not in scheme:
        raise InputError('[distill] scheme is written as "chain", or as { name = "chain", assistants = 2 }')
    numbers = {key: value for key, value in scheme.items() if key != "name"}
    return {**table, "scheme": {"name": scheme["name"], "numbers": numbers}}


def _table(cls: type[T], values: Any, title: str) -> T:
    """Check one table against its dataclass, types included. Strict: text is no number and no number is text."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(values, dict):
        raise InputError(f"{title} is not a table")
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise InputError(f"{title} has no key '{key}'" + did_you_mean(key, known))
    try:
        # Through JSON, where an array may become a tuple under strict rules; TOML's dates become text and are refused.
        return TypeAdapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained", "tuple")))
        if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            raise InputError(f"{title} needs a key '{place}'") from error
        raise InputError(f"{title} {place}: {first['msg'].lower()}, not {str(first['input'])[:60]!r}") from error


def template() -> str:
    """The commented project that `edgekd distill --init` writes; it runs as it is."""
    return Path(__file__).with_name("project_template.toml").read_text(encoding="utf-8")
