"""The plan is a pure function of scenario and seed, and parts of it do not disturb each other."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.plan import Plan, make_plan
from chaos.scenario import FaultSpec, builtin_names, load_scenario
from checkers.keyslot import key_slot


@pytest.mark.parametrize("name", builtin_names())
@given(seed=st.integers(0, 2**63))
def test_the_same_seed_gives_the_same_plan_and_json_keeps_it(name, seed):
    scenario = load_scenario(name)
    plan = make_plan(scenario, seed)
    encoded = msgspec.json.encode(plan)
    assert encoded == msgspec.json.encode(make_plan(scenario, seed))
    assert msgspec.json.decode(encoded, type=Plan) == plan


def test_the_numbers_are_the_same_on_every_machine():
    plan = make_plan(load_scenario("primary-partition"), 7)
    assert plan.generator == 1
    assert plan.streams["client/0"] == 1574134016455646346
    assert plan.streams["nemesis/0"] == 11847063755935720835


def test_another_client_changes_nothing_for_the_others():
    few = make_plan(load_scenario("steady", {"clients.count": 3}), 7).client_streams()
    more = make_plan(load_scenario("steady", {"clients.count": 4}), 7).client_streams()
    assert {client: more[client] for client in few} == few


def test_a_fault_with_a_seed_is_what_it_was_without_the_others(tmp_path):
    scenario = load_scenario("everything")
    drawn = make_plan(scenario, 7).faults
    file = tmp_path / "one.quake.yaml"
    file.write_text(msgspec.structs.replace(scenario, nemesis=[FaultSpec.of(drawn[2])]).to_yaml())
    alone = make_plan(load_scenario(file), 8).faults
    assert alone == [msgspec.structs.replace(drawn[2], number=0)]


def test_targets_are_named_by_slot():
    plan = make_plan(load_scenario("primary-partition"), 7)
    assert plan.faults[0].target == f"primary of slot {key_slot('k0')}"
