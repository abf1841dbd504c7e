"""The distillation losses, a file each; `base.py` is their common shape, `arithmetic.py` what several compute."""
