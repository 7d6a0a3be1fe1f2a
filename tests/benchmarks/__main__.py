"""`make bench`: every line of the README's table, each a ratio of two things measured in turn in this run."""

from . import celery, engine, folder, local, merge, scaling, startup
from .measure import machine

print(machine(), flush=True)
engine.main()
scaling.main()
startup.main()
folder.main()
merge.main()
local.main()
celery.main()
