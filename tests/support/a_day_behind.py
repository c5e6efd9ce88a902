"""The server with a wall clock that is a day behind: `python -m tests.support.a_day_behind serve`."""

from tests.support.a_day_ahead import DAY_MS, turned

if __name__ == "__main__":
    turned(-DAY_MS)
