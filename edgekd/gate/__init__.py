"""Gates on performance: a candidate against a baseline, with known rates of false alarms and of misses.

`duel` runs both in paired blocks: `signed_rank` judges those, `sequential` decides when enough were run, `family` of many.
`accuracy` and `exact` have rules for what needs no repetition; so far only sizes are asked of them. `selftest` judges the gate.
"""
