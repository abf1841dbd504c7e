"""Every target and precision built from a run's student, against that student on 1,000 real inputs of the test split.

python benchmarks/fidelity.py RUN [CANDIDATE]
"""

import sys
import tempfile
from pathlib import Path

from edgekd.build import build, calibration_inputs
from edgekd.export import finished, trained_student
from edgekd.plugins import find_target
from edgekd.types import Precision
from edgekd.verify import refusal, verify

TARGETS = ("onnxruntime", "tflite", "openvino", "coreml")


def main(folder: Path, candidate: str | None) -> None:
    with finished(folder) as run:
        chosen, trained = trained_student(run, candidate)
        program = run.program(chosen, trained)
        calibration = calibration_inputs(run.data, program.contract, run.seed)
        print(f"{chosen.id}, {run.params(chosen):,} parameters")
        print("| target | precision | error / largest logit | beyond margin | SNR dB | agreement | accuracy | bytes | verdict |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name in TARGETS:
            target = find_target(name)
            for precision in target.precisions:
                with tempfile.TemporaryDirectory() as scratch:
                    artifact = build(target, program, Precision.parse(precision), calibration, Path(scratch))
                    found = verify(artifact, target, program, run.data.test, refuse=False)
                    fidelity = found.fidelity
                    print(
                        f"| {name} | {precision} | {fidelity.max_abs_error / fidelity.max_abs_logit:.1e} "
                        f"| {fidelity.margin_disagreements} | {fidelity.snr_db or 0:.1f} | {fidelity.agreement:.2%} "
                        f"| {found.artifact_accuracy:.4f} | {artifact.size_bytes:,} "
                        f"| {'refused' if refusal(fidelity, artifact.precision) else 'ships'} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
