"""Emulated boards: a small Debian for arm64 or armhf, its programs run by QEMU, reached by a real sshd and a real adbd.

`board.py` starts one; `root.py`, `wheels.py` and `faces.py` make its files; `namespace.py` is the process that holds it;
`count.py` counts instructions, `bench_count.py` puts them into a bench record. What such a board computes, and how many
instructions that takes, is real; its times are not.
"""
