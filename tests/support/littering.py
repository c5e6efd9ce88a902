"""The server, but at its end it tells what only the collector could have freed.

`python -m tests.support.littering serve`: the collector is off, and `LITTER` names the file that gets
the types of the objects it found, a line each, sorted.
"""

import gc
import os
import sys
from pathlib import Path

from miss_server.cli import main

if __name__ == "__main__":
    sys.argv[0] = "miss-server"
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.enable, gc.set_threshold = (lambda: None), (lambda *_: None)
    gc.collect()
    gc.garbage.clear()
    gc.disable()
    try:
        main()
    except SystemExit:
        gc.collect()
        names = sorted(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
        Path(os.environ["LITTER"]).write_text("\n".join(names))
        raise
