"""Operations are a pure function of seed, client and number; their results say what the server said."""

from itertools import islice

import pytest
from redis.crc import key_slot

from chaos.operation import Doubtful, Refused
from chaos.workloads import WORKLOADS, Mixture
from nemeses.stream import Stream, derive


def mixture(**options):
    return Mixture([(kind(options.get(name, {})), 1.0) for name, kind in WORKLOADS.items()])


def planned(client, count=300, seed=7, **options):
    mix = mixture(**options)
    return [mix.operation(client, n, derive(seed, "client", client))[:7] for n in range(count)]


def many(name, client=0, count=2_000, **options):
    mix = Mixture([(WORKLOADS[name](options), 1.0)])
    return [mix.operation(client, n, derive(7, "client", client)) for n in range(count)]


def test_the_same_seed_plans_the_same_operations():
    assert planned(3) == planned(3)
    assert planned(3) != planned(3, seed=8)
    assert planned(3) != planned(4)


def test_operation_n_does_not_depend_on_those_before_it():
    mix = mixture()
    seed = derive(7, "client", 2)
    backwards = [mix.operation(2, n, seed)[:7] for n in reversed(range(50))]
    assert backwards[::-1] == planned(2, 50)


def test_weights_decide_how_often_a_workload_has_its_turn():
    mix = Mixture([(WORKLOADS["register"]({}), 3.0), (WORKLOADS["set"]({}), 1.0)])
    share = sum(mix.operation(0, n, 5).workload == "set" for n in range(4_000)) / 4_000
    assert 0.2 < share < 0.3
    with pytest.raises(ValueError, match="at least one workload"):
        Mixture([])


@pytest.mark.parametrize("name", WORKLOADS)
def test_only_declared_options_are_used(name):
    kind = WORKLOADS[name]
    assert kind.name == name
    assert kind(kind.defaults).operation(0, 0, Stream(1)).workload == name


def test_written_values_are_unique_in_the_run():
    written = []
    for client in range(4):
        for workload, f, _, value, _, _, writes in planned(client):
            if not writes or workload == "counter":
                continue
            value = value[0] if workload == "ttl" else value
            written.append(value[0][2] if f == "txn" else next(iter(value.values())) if f == "mset" else value)
    assert len(written) == len(set(written)) > 100
    assert 0 not in written


def test_a_register_is_written_and_read_in_the_share_asked_for():
    operations = many("register", writes=0.25)
    assert 0.2 < sum(operation.writes for operation in operations) / len(operations) < 0.3
    assert {operation.key for operation in operations} == {f"k{n}" for n in range(50)}


def test_the_result_of_a_read_is_what_the_server_said():
    read = next(operation for operation in many("register") if not operation.writes)
    assert read.result([b"41"]) == 41
    assert read.result([None]) is None
    assert read.result([b"not ours"]) == "not ours"
    with pytest.raises(Doubtful):
        read.result([7])


def test_a_write_that_is_not_answered_with_ok_is_in_doubt():
    write = next(operation for operation in many("register") if operation.writes)
    assert write.result([b"OK"]) == write.value
    with pytest.raises(Doubtful):
        write.result([7])


def test_wait_follows_the_write_on_its_own_connection():
    write = next(op for op in many("register", wait={"replicas": 2, "timeout_ms": 50}) if op.writes)
    assert write.commands[1] == ("WAIT", 2, 50)
    with pytest.raises(ValueError, match="longer than 0ms"):
        WORKLOADS["register"]({"wait": {"timeout_ms": 0}})
    with pytest.raises(ValueError, match="not replica"):
        WORKLOADS["register"]({"wait": {"replica": 1}})


@pytest.mark.parametrize("name", ["register", "set", "counter", "append"])
def test_wait_follows_on_another_connection_where_that_is_asked_for(name):
    wait = {"replicas": 2, "timeout_ms": 50, "connection": "other"}
    write = next(op for op in many(name, wait=wait) if op.writes)
    assert write.apart == ("WAIT", 2, 50)
    assert len(write.commands) == 1
    assert next(op for op in many(name) if op.writes).apart is None
    with pytest.raises(ValueError, match="connection is one of own, other"):
        WORKLOADS[name]({"wait": {"connection": "another"}})


def test_an_entry_is_written_for_a_time_between_the_shortest_and_the_longest():
    operations = many("ttl", writes=0.5, shortest_ms=100, longest_ms=103)
    writes = [operation for operation in operations if operation.writes]
    assert {operation.value[1] for operation in writes} == {100, 101, 102, 103}
    value, life_ms = writes[0].value
    assert writes[0].commands == (("SET", writes[0].key, value, "PX", life_ms),)
    assert writes[0].result([b"OK"]) == [value, life_ms]
    read = next(operation for operation in operations if not operation.writes)
    assert (read.result([b"41"]), read.result([None])) == (41, None)
    for shortest_ms, longest_ms in ((0, 5), (7, 6)):
        with pytest.raises(ValueError, match="shortest"):
            WORKLOADS["ttl"]({"shortest_ms": shortest_ms, "longest_ms": longest_ms})


def test_a_counter_that_does_not_exist_reads_zero():
    read = next(operation for operation in many("counter") if not operation.writes)
    assert read.result([None]) == 0
    assert read.result([b"12"]) == 12


def test_lists_stay_short_and_are_shared():
    lengths, writers = {}, {}
    for client in range(8):
        for operation in many("append", client, 1_000):
            if operation.writes:
                lengths[operation.key] = lengths.get(operation.key, 0) + 1
                writers.setdefault(operation.key, set()).add(client)
    assert max(lengths.values()) <= 32
    assert max(map(len, writers.values())) == 4


def test_final_reads_of_lists_are_those_that_were_touched():
    executed = {0: 205, 5: 90}
    touched = {operation.key for client, count in executed.items() for operation in many("append", client, count)}
    finals = list(WORKLOADS["append"]({}).finals(executed))
    assert touched <= {operation.key for operation in finals}
    assert len(finals) == 10 * (3 + 2)
    assert finals[0].result([[b"1", b"2"]]) == [["r", finals[0].key, [1, 2]]]


def test_every_object_has_one_final_read():
    keys = [operation.key for operation in mixture().finals({0: 10})]
    assert len(keys) == len(set(keys))
    assert {"k49", "s9", "c9", "l0", "{g9}"} <= set(keys)


def test_a_group_lies_in_one_slot_and_is_always_touched_whole():
    for operation in many("multikey", cross_slot=0.0):
        assert list(operation.value) == [f"{operation.key}:{letter}" for letter in "abc"]
        assert len({key_slot(key.encode()) for key in operation.value}) == 1


def test_all_ways_of_writing_and_reading_a_group_occur():
    ways = {(op.f, op.via, op.commands[0][0]) for op in many("multikey", cross_slot=0.2)}
    assert ways == {
        ("mset", None, "MSET"), ("mset", "multi", "MULTI"), ("mset", "script", "EVAL"),
        ("mget", None, "MGET"), ("mget", "multi", "MULTI"), ("mget", "script", "EVAL_RO"),
        ("mget", "cross-slot", "MGET"), ("mset", "cross-slot", "MSET"), ("mset", "cross-slot", "MULTI"),
        ("mset", "cross-slot", "EVAL"), ("mset", "undeclared", "EVAL"),
    }  # fmt: skip


def test_crossing_slots_never_touches_a_group():
    crossing = [op for op in many("multikey", cross_slot=0.5) if op.via in ("cross-slot", "undeclared")]
    assert crossing
    for operation in crossing:
        first, second = sorted(key_slot(key.encode()) for key in operation.value)
        assert second - first == 1
        assert all(key.startswith("{x") for key in operation.value)


def test_a_transaction_is_read_from_its_exec():
    read = next(op for op in many("multikey", cross_slot=0.0) if op.f == "mget" and op.via == "multi")
    queued = [b"OK", *[b"QUEUED"] * 3]
    assert list(read.result([*queued, [b"1", b"1", None]]).values()) == [1, 1, None]
    with pytest.raises(Refused, match="nil"):
        read.result([*queued, None])
    with pytest.raises(Doubtful, match="inside EXEC"):
        read.result([*queued, [b"1", Exception("WRONGTYPE"), b"1"]])
    with pytest.raises(Doubtful, match="2 values"):
        read.result([*queued, [b"1", b"1"]])


def test_a_client_more_changes_nothing_for_the_others():
    few = [planned(client, 50) for client in range(3)]
    more = [planned(client, 50) for client in range(9)]
    assert list(islice(more, 3)) == few
