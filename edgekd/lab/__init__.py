"""A shared lab: devices that several edgekd processes of one machine use in turn.

folder.py    where queues, sightings and results are: the user's own, or `EDGEKD_LAB` for all users of a machine
queue.py     who waits for a device, first come, first served
status.py    what `edgekd devices status` says
results.py   every measurement of the lab in one store
"""
