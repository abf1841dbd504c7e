"""Gates on performance: a candidate against a baseline, with known rates of false alarms and of misses.

`signed_rank` judges paired blocks, `sequential` decides when enough of them were run.
"""
