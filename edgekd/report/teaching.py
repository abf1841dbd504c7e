"""What a teacher is worth, as lines of tables: its check, fidelity to it, and the gain over training without it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgekd.report.figures import NOTHING, digits, percent, points, seconds

Record = dict[str, Any]
NETWORKS = ("teacher", "student", "artifact")
VERDICTS = {"helps": "the teacher helps", "hurts": "the teacher hurts", "no gain": "no gain is to be seen"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A shown text; `reason` says why there is none."""

    text: str = NOTHING
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A measure, what it is in words, and its value for each of the three networks."""

    label: str
    meaning: str
    teacher: Cell = Cell()
    student: Cell = Cell()
    artifact: Cell = Cell()


def unavailable(reason: str) -> Cell:
    return Cell(text="unavailable", reason=reason or "it was not measured")


def fidelity_lines(entry: Record, report: Record) -> list[Line]:
    """The short table of one selected artifact; empty where its report has no fidelity to the teacher."""
    found = entry.get("teacher_fidelity")
    if not found:
        return []
    return [*_comparison_lines(found), _cka_line(found), *_robustness_lines(found), _effectiveness_line(entry, report)]


def _comparison_lines(found: Record) -> Iterator[Line]:
    scores = (("accuracy", "right answers on the test split", percent), ("ece", "how far confidence is from accuracy", percent))
    for key, meaning, text in (*scores, ("nll", "negative log-likelihood of the labels, nats", digits)):
        label = {"accuracy": "accuracy", "ece": "calibration error (ECE)", "nll": "NLL"}[key]
        teacher = Cell() if found["student"] is None else Cell(text=text(found["student"]["teacher"][key]))
        student, artifact = (_of(found, who, lambda part, key=key, text=text: text(part["student"][key])) for who in NETWORKS[1:])
        yield Line(label=label, meaning=meaning, teacher=teacher, student=student, artifact=artifact)
    for key, label, meaning, text in (
        ("agreement", "agreement", "the teacher's answer, right or wrong", percent),
        ("top5_agreement", "top-5 agreement", "share of the teacher's five first classes", percent),
        ("kl", "KL divergence", "from the teacher's probabilities, nats", digits),
        ("inherited_errors", "inherited errors", "share of the teacher's errors that are repeated", percent),
    ):
        if any(found[who] is not None and found[who][key] is not None for who in NETWORKS[1:]):
            student, artifact = (
                _of(found, who, lambda part, key=key, text=text: _known(part[key], text)) for who in NETWORKS[1:]
            )
            yield Line(label=label, meaning=meaning, student=student, artifact=artifact)


def _of(found: Record, part: str, text: Any) -> Cell:
    return unavailable(found["reasons"].get(part, "")) if found[part] is None else Cell(text=text(found[part]))


def _known(value: float | None, text: Any) -> str:
    return NOTHING if value is None else str(text(value))


def _cka_line(found: Record) -> Line:
    cka = found["cka"]
    chance = "" if cka is None else f"; unrelated ones stay below {digits(cka['null_p95'])} in 95 of 100 cases"
    text = _of(found, "cka", lambda cka: digits(cka["value"]))
    return Line(label="CKA of embeddings", meaning=f"1 is alike{chance}", student=text)


def _robustness_lines(found: Record) -> Iterator[Line]:
    measured = found["robustness"]
    for key, label, meaning, text in (
        ("mean_corruption_error", "error under corruption", "mean over 15 corruptions and 5 severities", percent),
        ("relative_corruption_error", "mCE", "errors relative to the teacher's; above 1 is less robust", digits),
        ("mean_agreement", "agreement under corruption", "the teacher's answer to the same picture", percent),
    ):
        if measured is None:
            cells = {who: unavailable(found["reasons"].get("robustness", "")) for who in NETWORKS[1:]}
        else:
            cells = {who: Cell(text=_known(measured["networks"][who][key], text)) for who in NETWORKS}
        yield Line(label=label, meaning=meaning, **cells)


def _effectiveness_line(entry: Record, report: Record) -> Line:
    honest = next((h for h in report.get("honest") or [] if h["candidate"] == entry["candidate"]), None)
    cell = unavailable("no student was trained without the teacher: run with --honest")
    if honest is not None:
        effect = honest["transfer_effectiveness"]
        cell = unavailable(effect.get("reason", "")) if effect["value"] is None else Cell(text=percent(effect["value"]))
    return Line(
        label="transfer effectiveness", meaning="of the gap from plain student to teacher, what distillation closed", student=cell
    )


def samples_of(entry: Record) -> str:
    """How many samples the figures are over, in words."""
    found = entry["teacher_fidelity"]
    whole, corrupted = found["artifact"] or found["student"], found["robustness"]
    texts = [
        f"{whole['samples']:,} test samples" if whole else "",
        f"{corrupted['samples']:,} under corruption" if corrupted else "",
    ]
    return ", ".join(text for text in texts if text)


def in_words(entry: Record) -> str:
    """What the artifact has of its teacher, in a sentence; empty where that is not known."""
    found = entry["teacher_fidelity"]
    built, corrupted = found["artifact"], found["robustness"]
    if built is None:
        return ""
    text = f"Gives the teacher's answer to {percent(built['agreement'])} of {built['samples']:,} test samples"
    if corrupted is None:
        return text + "."
    network = corrupted["networks"]["artifact"]
    relative = network["relative_corruption_error"]
    beside = "" if relative is None else f", where it makes {digits(relative)} times the teacher's errors"
    return f"{text}, to {percent(network['mean_agreement'])} of corrupted ones{beside}."


# Without the teacher -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VariantLine:
    """A way to train: means over seeds, and what distillation gains over it."""

    name: str
    accuracy: str
    each: str
    epochs: str
    time: str
    gain: str = NOTHING
    verdict: str = ""


def variant_lines(honest: Record) -> list[VariantLine]:
    gains = {gain["against"]: gain for gain in honest["gains"]}
    return [_variant_line(variant, gains.get(variant["name"])) for variant in honest["variants"]]


def _variant_line(variant: Record, gain: Record | None) -> VariantLine:
    accuracies, epochs, spent = variant["accuracies"], variant["epochs"], variant["seconds"]
    line = VariantLine(
        name=variant["name"],
        accuracy=percent(sum(accuracies) / len(accuracies)) if accuracies else NOTHING,
        each=", ".join(percent(value) for value in accuracies),
        epochs=", ".join(map(str, sorted(set(epochs)))),
        time=seconds(sum(spent) / len(spent)) if spent else NOTHING,
    )
    return line if gain is None else VariantLine(**{**line.__dict__, "gain": gain_text(gain), "verdict": gain["verdict"]})


def gain_text(gain: Record) -> str:
    """`+0.52 pp (97.5 %: −0.10 pp to +1.14 pp)`."""
    mean, low, high = (points(value / 100) for value in (gain["gain_points"], *gain["interval_points"]))
    return f"{mean} ({100 * gain['confidence']:.3g} %: {low} to {high})"


def honest_words(honest: Record) -> str:
    """The verdict in a sentence."""
    if honest.get("failure"):
        return f"Not comparable: {honest['failure']}"
    said = VERDICTS.get(honest["verdict"], honest["verdict"])
    texts = [f"{gain_text(gain)} against {gain['against']}" for gain in honest["gains"]]
    return f"Over {honest['seeds']} seeds {said}: {'; '.join(texts)}."


# The teacher itself ------------------------------------------------------------------------------------------------


def checked_teachers(report: Record) -> list[Record]:
    """The teacher, or the members of several, that a check was made of."""
    teacher = report["teacher"]
    return [member for member in teacher.get("members") or [teacher] if member.get("check")]


def advice_texts(report: Record) -> list[str]:
    """What to think of before the next run, each said of whom."""
    found = [(member["name"], advice) for member in checked_teachers(report) for advice in member["check"]["advice"]]
    found += [(advice["candidate"], advice) for advice in report.get("advice") or []]
    return [f"{whose}: {advice['rule']}: {advice['text']}; {advice['next_step']}" for whose, advice in found]


def teacher_cells(member: Record) -> list[tuple[str, str]]:
    """(measure, value) of a teacher's check on the validation split."""
    check = member["check"]
    ratio = check.get("params_ratio")
    cells = [
        ("accuracy (validation)", percent(check["accuracy"])),
        ("… its 95 % interval", f"{percent(check['accuracy_low'])} to {percent(check['accuracy_high'])}"),
        ("accuracy (test)", _known(member.get("accuracy"), percent)),
        ("accuracy (training, augmented)", percent(check["train_accuracy"])),
        ("accuracy of logistic regression", percent(check["reference_accuracy"])),
        ("entropy of its answers", f"{digits(check['entropy_nats'])} nats, {percent(check['entropy_share'])} of the largest"),
        ("calibration error (ECE)", percent(check["ece"])),
        ("margin of the two largest logits", digits(check["top2_margin"])),
        ("temperature advised", digits(check["temperature"], 2)),
        ("parameters", "unknown" if member["params"] is None else f"{member['params']:,}"),
        ("… relative to the largest student's", NOTHING if ratio is None else f"{digits(ratio)} ×"),
    ]
    part = member.get("contribution")
    if part is not None:
        cells.append(("accuracy it adds to the others", points(part["accuracy_with"] - part["accuracy_without"])))
    return cells
