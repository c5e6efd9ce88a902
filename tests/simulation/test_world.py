"""The simulated world with Hypothesis choosing the steps: what breaks it, it shortens.

`test_simulation` plays fixed seeds and recorded failures, `make simulate` fresh seeds.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulation.world import Profile, World

numbers = st.integers(0, 4095)
OFTEN = (
    "write",
    "work",
    "bustle",
    "server reads",
    "phone reads",
    "commit",
    "answer reads",
    "answer call",
    "ring",
)
SELDOM = tuple(name for name in World.ACTS if name not in OFTEN)


class Machine(RuleBasedStateMachine):
    """The world under Hypothesis, which shortens what breaks it."""

    world: World | None = None

    @initialize(seed=st.integers(0, 59))
    def begin(self, seed: int) -> None:
        """A new world; the profile goes by the seed."""
        self.world = World(Profile.of(seed))
        self.world.__enter__()

    @rule(name=st.sampled_from(OFTEN), a=numbers, b=numbers)
    def something_happens(self, name: str, a: int, b: int) -> None:
        """What goes well, most of the time."""
        assert self.world is not None
        self.world.step((name, a, b))

    @rule(a=numbers, b=numbers)
    def much_happens(self, a: int, b: int) -> None:
        """A message is written, and everybody does what is next."""
        assert self.world is not None
        self.world.step(("write", a, b))
        self.world.step(("bustle", a, b))

    @rule(name=st.sampled_from(SELDOM), a=numbers, b=numbers)
    def something_goes_wrong(self, name: str, a: int, b: int) -> None:
        """Faults, time, rosters, the other process of a device."""
        assert self.world is not None
        self.world.step((name, a, b))

    def teardown(self) -> None:
        """Heal, and check that nothing was lost."""
        if self.world is None:
            return
        try:
            self.world.heal()
        finally:
            self.world.__exit__(None, None, None)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
