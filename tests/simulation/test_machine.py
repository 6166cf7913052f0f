"""The same user, fleet and engine as a state machine: hypothesis chooses what happens, and shrinks what fails."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.simulation import profile
from tests.simulation.driver import COMMANDS, DYNOS, EXCHANGES, HAPPENINGS, KEYS, KINDS, VALUES
from tests.simulation.faults import Fault
from tests.simulation.wanted import HOSTS, Edit, Happen, Pass, Run
from tests.simulation.world import World

FAULTS = st.dictionaries(
    st.integers(1, EXCHANGES), st.builds(Fault, st.sampled_from(KINDS), st.integers(0, 3)), max_size=3
)
EDITS = st.sampled_from(sorted(set(KEYS))).flatmap(
    lambda key: st.builds(Edit, st.just(key), st.sampled_from(VALUES[key]))
)
NAMES = st.sampled_from((*DYNOS, *HOSTS))
APPLIES = [0]


class Machine(RuleBasedStateMachine):
    """One life; its end is an apply without faults, and then a destroy."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(edits=st.lists(EDITS, max_size=4))
    def begin(self, edits: list[Edit]) -> None:
        for edit in edits:
            self.world.perform(edit)
        self.world.perform(Run("apply"))

    @rule(edit=EDITS)
    def edit(self, edit: Edit) -> None:
        self.world.perform(edit)

    @rule(faults=FAULTS, stop=st.sampled_from((0, 0, 0, 1, 5, 12)))
    def apply(self, faults: dict[int, Fault], stop: int) -> None:
        self.world.perform(Run("apply", tuple(sorted(faults.items())), stop=stop))

    @rule(command=st.sampled_from(sorted(set(COMMANDS) - {"apply", "over"})), name=NAMES, faults=FAULTS)
    def run(self, command: str, name: str, faults: dict[int, Fault]) -> None:
        self.world.perform(Run(command, tuple(sorted(faults.items())), (name,)))

    @rule(what=st.sampled_from(sorted(set(HAPPENINGS) - {"neighbour"})), host=st.sampled_from(HOSTS))
    def happen(self, what: str, host: str) -> None:
        self.world.perform(Happen(what, host))

    @rule(what=st.sampled_from(sorted(set(HAPPENINGS) - {"neighbour"})), host=st.sampled_from(HOSTS))
    def between(self, what: str, host: str) -> None:
        self.world.perform(Run("apply", between=Happen(what, host)))

    @rule(seconds=st.sampled_from((1, 60, 3600)))
    def wait(self, seconds: int) -> None:
        self.world.perform(Pass(seconds))

    def teardown(self) -> None:
        self.world.settle()
        APPLIES[0] += self.world.applies


def test_the_state_machine(count: Any) -> None:
    APPLIES[0] = 0
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=profile.EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            derandomize=profile.NAME == "ci",
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    count(APPLIES[0])
