"""What of a teacher is in its student: fidelity, which is not accuracy. NumPy only: built artifacts are judged as networks are.

measures.py      a student's answers against its teacher's: agreement, divergence, calibration, class by class
cka.py           likeness of two networks' embeddings, and what chance alone gives
corruptions.py   15 seeded corruptions of pictures at five severities; fields.py draws and resamples for them
robustness.py    accuracy and agreement under those corruptions

Source of the distinction: Stanton et al. 2021, "Does Knowledge Distillation Really Work?", arXiv:2106.05945.
"""
