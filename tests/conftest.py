"""Set before torch is imported: its threads spin while they wait, and more of them than idle cores cost five times."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
