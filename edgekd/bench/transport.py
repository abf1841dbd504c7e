"""Old name of `edgekd.bench.transports`, until its last importer has moved."""

from edgekd.bench.transports import Completed as Completed
from edgekd.bench.transports import Transport as Transport
from edgekd.bench.transports import connect as connect
from edgekd.bench.transports.local import Local as Local
