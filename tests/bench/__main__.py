"""`make bench`: prints every figure and writes them to bench.json."""

import json
import sys
from pathlib import Path

from tests.bench import crypto_cost, relay_cost
from tests.bench.machine import commit, machine


def main() -> None:
    """Measure everything."""
    where, what = machine(), commit()
    rows = []
    for name, value, unit in [*crypto_cost.figures(), *relay_cost.figures()]:
        sys.stdout.write(f"{name:<45} {value:12.3f} {unit}\n")
        sys.stdout.flush()
        rows.append(
            {"name": name, "value": round(value, 3), "unit": unit, "commit": what, "machine": where}
        )
    Path("bench.json").write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write(f"bench.json: {what}, {where}\n")


main()
