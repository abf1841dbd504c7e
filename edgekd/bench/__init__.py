"""Measuring: one procedure for every device, raw values first, statistics computed from them.

harness.py      pushed to the device beside a target's runner.py: runs a job, answers with one JSON document
transport.py    how files and commands reach a device
loops.py        beside it: the timed loops; steady.py, feeding.py, page_cache.py: what they need
uses.py         cold starts, sustained load, duty cycles, throughput: their passes, and what they say
profiling.py    beside it: per-operator times, by a target's own operators.py; operator_times.py reads them, operators.py asks
jobs.py         one point of `edgekd bench`: options in, one record out; points.py: the same with other values
compare.py      models side by side in interleaved blocks; sweep.py: all combinations; opened.py: several models on devices
reply.py        a device's answer, read strictly: it is data from outside
procedure.py    the passes, in fresh processes: empty baseline, memory, latency, energy
meters.py       energy sensors
statistics.py   the percentiles that so many samples allow
measure.py      the record of one model file: the core of `edgekd bench`
"""
