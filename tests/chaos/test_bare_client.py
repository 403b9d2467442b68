"""The bare client on a cluster in memory, in virtual time."""

from itertools import pairwise

import pytest
from fake_cluster import LATENCY_NS, FakeCluster, Scene
from redis.crc import key_slot

from chaos.routes.bare import Bare
from chaos.routes.placement import OneNode
from chaos.routes.slotmap import Directory
from chaos.workloads import WORKLOADS, Mixture
from checkers.events import FAIL, OK


def only(name="register", **options):
    return Mixture([(WORKLOADS[name](options), 1.0)])


def writes_of_one_key(wait=None):
    """Every operation writes `k0`, slot 9041 of n2."""
    return only(keys=1, writes=1.0, wait=wait)


SLOT = key_slot(b"k0")


def owner_of_k0(cluster):
    return cluster.owners[SLOT]


def events(scene, *types):
    return [event for event in scene.memory.events if event.type in types]


def test_everything_succeeds_on_a_healthy_cluster():
    parts = {name: kind({"cross_slot": 0.0} if name == "multikey" else {}) for name, kind in WORKLOADS.items()}
    del parts["cachefill"]  # its operations are done in steps, by another machine
    scene = Scene(Mixture([(part, 1) for part in parts.values()]), 4)
    operations = scene.run(500).operations
    assert len(operations) > 500
    assert set(operations.type) == {OK}
    assert {machine.executed for machine in scene.machines} <= set(range(100, 1000))


def test_an_operation_is_in_the_history_before_its_bytes_leave():
    scene = Scene(writes_of_one_key())
    order = []
    write, send = scene.memory.write, scene.cluster.send
    scene.memory.write = lambda *found: (
        order.extend(("event", event.type, event.value) for event in found),
        write(*found),
    )
    scene.cluster.send = lambda link, data: (order.append(("bytes", data)), send(link, data))
    scene.run(20)
    for position, entry in enumerate(order):
        if entry[0] == "bytes" and b"SET\r\n" in entry[1]:
            value = int(entry[1].split(b"\r\n")[-2])
            assert ("event", "invoke", value) in order[:position]


def test_the_same_seed_gives_the_same_history():
    first, second = Scene(only(), 3), Scene(only(), 3)
    first.run(100)
    second.run(100)
    assert first.memory.events == second.memory.events


def test_a_client_does_one_thing_at_a_time_and_time_goes_forward():
    scene = Scene(only(), 3)
    scene.run(100)
    for process in range(3):
        own = [event for event in scene.memory.events if event.process == process]
        assert [event.type == "invoke" for event in own] == [True, False] * (len(own) // 2)
        assert all(a.time < b.time for a, b in pairwise(own))


def test_moved_is_followed_and_remembered():
    scene = Scene(writes_of_one_key())
    scene.cluster.owners[SLOT] = "n1"
    scene.run(20)
    done = events(scene, "ok")
    assert done[0].hops == ["n2", "n1"]
    assert done[0].node == "n1"
    assert [event.hops for event in done[1:]] == [None] * (len(done) - 1)
    assert len(done) > 5


def test_ask_is_followed_with_asking_and_not_remembered():
    scene = Scene(writes_of_one_key())
    scene.cluster.open_slot(SLOT, "n3")
    scene.run(20)
    done = events(scene, "ok")
    assert len(done) > 3
    assert all(event.hops == ["n2", "n3"] and event.asking and event.node == "n3" for event in done)
    assert b"k0" in scene.cluster.nodes["n3"].data


@pytest.mark.parametrize("empty", [True, False])
def test_a_transaction_during_a_migration_happens_as_a_whole_or_not(empty):
    mixture = only("multikey", groups=1, reads=0.0, cross_slot=0.0)
    scene = Scene(mixture)
    slot = key_slot(b"{g0}")
    source = scene.cluster.nodes[scene.cluster.owners[slot]]
    keys = [b"{g0}:a", b"{g0}:b", b"{g0}:c"]
    source.data.update(dict.fromkeys(keys, b"0"))
    target = next(name for name in ("n1", "n2", "n3") if name != source.name)
    scene.cluster.open_slot(slot, target)
    for key in keys if empty else keys[:1]:
        scene.cluster.move_key(key, source.name, target)
    scene.run(2_000)
    multi = [event for event in events(scene, "ok", "fail") if event.hops is not None and event.type == "ok"]
    if empty:
        assert multi
        assert all(event.asking for event in multi)
        assert not events(scene, "fail", "info")
    else:
        assert not events(scene, "info")
        assert {event.error.split()[0] for event in events(scene, "fail")} == {"TRYAGAIN"}
        assert len({scene.cluster.nodes[target].data[keys[0]], *map(source.data.get, keys[1:])}) == 1


def test_tryagain_is_tried_again_a_bounded_number_of_times():
    scene = Scene(only("multikey", groups=1, reads=1.0, cross_slot=0.0))
    slot = key_slot(b"{g0}")
    source = scene.cluster.owners[slot]
    scene.cluster.nodes[source].data.update({b"{g0}:a": b"1", b"{g0}:b": b"1"})
    scene.cluster.open_slot(slot, next(name for name in ("n1", "n2", "n3") if name != source))
    scene.run(300)
    failed = events(scene, "fail")
    assert failed
    assert all(event.hops == [source] * 6 for event in failed)


def test_tryagain_ends_when_the_slot_is_whole_again():
    scene = Scene(only("multikey", groups=1, reads=1.0, cross_slot=0.0))
    slot = key_slot(b"{g0}")
    source = scene.cluster.owners[slot]
    target = next(name for name in ("n1", "n2", "n3") if name != source)
    scene.cluster.nodes[source].data.update({b"{g0}:a": b"1", b"{g0}:b": b"1"})
    scene.cluster.open_slot(slot, target)
    scene.cluster.after(30_000_000, lambda: scene.cluster.hand_over(slot, target))
    scene.run(60)
    first = events(scene, "ok", "fail")[0]
    assert first.type == "ok"
    assert first.hops[-1] == target
    assert first.hops[0] == first.hops[1] == source


def test_redirections_in_a_circle_end_after_sixteen_nodes():
    scene = Scene(writes_of_one_key())
    address = {name: ":".join(map(str, node.address)) for name, node in scene.cluster.nodes.items()}
    scene.cluster.nodes["n2"].error = f"MOVED {SLOT} {address['n1']}"
    scene.cluster.nodes["n1"].error = f"MOVED {SLOT} {address['n2']}"
    scene.run(50)
    failed = events(scene, "fail")
    assert failed[0].error.startswith("TTL exhausted")
    assert failed[0].hops == ["n2", "n1"] * 8


def test_a_redirection_to_a_stranger_fails_and_names_it():
    scene = Scene(writes_of_one_key())
    scene.cluster.nodes["n2"].error = f"MOVED {SLOT} 192.0.2.1:7"
    scene.run(20)
    assert "192.0.2.1:7 is no node of this run" in events(scene, "fail")[0].error


def test_an_empty_host_in_a_redirection_is_the_host_that_said_it():
    directory = Directory({"n1": ("10.0.0.1", 7001), "n2": ("10.0.0.1", 7002)}, {"10.1.0.1:7002": "n2"})
    assert directory.redirection("MOVED 5 :7002", "n1") == (False, 5, "n2")
    assert directory.redirection("ASK 5 10.1.0.1:7002", "n1") == (True, 5, "n2")


def test_refused_is_a_certain_failure_and_does_not_flood_the_history():
    scene = Scene(writes_of_one_key())
    scene.cluster.kill("n2")
    scene.run(200)
    failed = events(scene, "fail")
    assert not events(scene, "ok", "info")
    assert 5 < len(failed) < 25
    assert failed[0].attempts == [
        {"node": "n2", "time": failed[0].attempts[0]["time"], "sent": False, "error": failed[0].error}
    ]


def test_killed_while_a_write_is_under_way_leaves_its_outcome_open():
    scene = Scene(writes_of_one_key())
    scene.cluster.after(20 * LATENCY_NS + LATENCY_NS // 2, lambda: scene.cluster.kill("n2"))
    scene.run(60)
    assert [event.type for event in events(scene, "info", "fail")][:2] == ["info", "fail"]
    unknown = events(scene, "info")
    assert len(unknown) == 1
    assert unknown[0].attempts[0]["sent"] is True
    later = [event.process for event in scene.memory.events if event.time > unknown[0].time]
    assert set(later) == {1}  # one client: its next process number is 0 + 1


def test_a_read_without_an_answer_is_a_failure_and_keeps_the_process():
    scene = Scene(only(keys=1, writes=0.0))
    scene.cluster.after(10_000_000, lambda: scene.cluster.pause("n2"))
    scene.run(1_200)
    failed = events(scene, "fail")
    assert failed[0].error.startswith("no reply from n2")
    assert {event.process for event in scene.memory.events} == {0}


def test_a_paused_node_costs_one_open_outcome_and_then_certain_failures():
    scene = Scene(writes_of_one_key())
    scene.cluster.after(10_000_000, lambda: scene.cluster.pause("n2"))
    scene.run(2_000)
    assert len(events(scene, "info")) == 1
    assert len(events(scene, "fail")) > 5
    assert "n2 was silent" in events(scene, "fail")[0].error


def test_what_a_paused_node_had_received_is_executed_when_it_resumes():
    scene = Scene(writes_of_one_key())
    scene.cluster.after(10_000_000, lambda: scene.cluster.pause("n2"))
    scene.run(1_000)
    unknown = events(scene, "info")[0]
    assert scene.cluster.nodes["n2"].data[b"k0"] != b"%d" % unknown.value
    scene.cluster.resume("n2")
    assert scene.cluster.nodes["n2"].data[b"k0"] == b"%d" % unknown.value


def test_a_client_beside_a_cut_link_goes_on_with_the_nodes_it_reaches():
    scene = Scene(only())
    scene.cluster.cut = {"n1", "n3", "n4", "n5", "n6"}
    scene.run(3_000)
    answered = events(scene, "ok")
    assert len(answered) > 50
    assert {event.node for event in answered} == {"n2"}
    assert not events(scene, "info")


def test_a_node_that_comes_back_is_used_again():
    scene = Scene(only())
    cluster = scene.cluster
    cluster.after(20_000_000, lambda: cluster.cut.update({"n1", "n3", "n4", "n5", "n6"}))
    cluster.after(1_500_000_000, cluster.cut.clear)
    scene.run(3_000)
    healed = [event for event in events(scene, "ok") if event.time > 2_600_000_000]
    assert {event.node for event in healed} == {"n1", "n2", "n3"}


def test_after_a_failover_the_map_is_learned_from_another_node():
    scene = Scene(writes_of_one_key())
    cluster = scene.cluster
    cluster.after(10_000_000, lambda: cluster.kill("n2"))
    cluster.after(50_000_000, lambda: cluster.promote("n5"))
    scene.run(300)
    assert events(scene, "ok")[-1].node == "n5"
    assert events(scene, "ok")[-1].hops is None


def test_writes_that_were_acknowledged_and_lost_are_in_the_history_as_ok():
    scene = Scene(only("set", keys=1))
    owner = scene.cluster.nodes[scene.cluster.owners[key_slot(b"s0")]]
    owner.loses = 3
    scene.run(50)
    acknowledged = {b"%d" % event.value for event in events(scene, "ok")}
    assert len(acknowledged - owner.data[b"s0"]) == 3


@pytest.mark.parametrize("connection", ["own", "other"])
def test_wait_is_recorded_beside_the_write_and_sent_where_it_is_asked_for(connection):
    scene = Scene(writes_of_one_key(wait={"replicas": 1, "timeout_ms": 100, "connection": connection}))
    answer, used = scene.cluster.answer, {"SET": set(), "WAIT": set()}

    def watched(link, command):
        used.get(command[0], set()).add(link)
        return answer(link, command)

    scene.cluster.answer = watched
    scene.run(20)
    done = events(scene, "ok")
    assert len(done) > 3
    assert {event.acked for event in done} == {1}
    assert {len(links) for links in used.values()} == {1}
    assert used["SET"].isdisjoint(used["WAIT"]) == (connection == "other")


@pytest.mark.parametrize("connection", ["own", "other"])
def test_a_write_whose_wait_was_not_answered_did_happen(connection):
    scene = Scene(writes_of_one_key(wait={"replicas": 1, "timeout_ms": 100, "connection": connection}))
    node = scene.cluster.nodes["n2"]
    answer = scene.cluster.answer
    scene.cluster.answer = lambda connection, command: b"" if command[0] == "WAIT" else answer(connection, command)
    scene.run(600)
    done = events(scene, "ok")
    assert done
    assert not events(scene, "info", "fail")
    assert done[0].acked is None
    assert node.data[b"k0"]


def test_a_write_that_was_asked_for_on_the_way_of_a_move_says_so_although_its_wait_went_elsewhere():
    scene = Scene(writes_of_one_key(wait={"replicas": 1, "connection": "other"}))
    scene.cluster.open_slot(SLOT, "n3")
    scene.run(20)
    done = events(scene, "ok")
    assert len(done) > 3
    assert all(event.asking and event.hops == ["n2", "n3"] and event.acked == 1 for event in done)


def test_reads_by_the_route_replica_go_to_replicas_and_may_be_stale():
    scene = Scene(only(keys=1), 2, from_replicas=True)
    scene.run(100)
    invoked = [event for event in scene.memory.events if event.type == "invoke"]
    assert {event.via for event in invoked if event.f == "read"} == {"replica"}
    assert {event.via for event in invoked if event.f == "write"} == {None}
    assert {event.node for event in events(scene, "ok") if event.f == "read"} == {"n5"}
    assert {event.node for event in events(scene, "ok") if event.f == "write"} == {"n2"}


def test_a_replica_that_changed_sides_redirects_to_the_primary():
    scene = Scene(only(keys=1, writes=0.0), from_replicas=True)
    scene.cluster.nodes["n5"].primary = "n1"
    scene.run(20)
    assert events(scene, "ok")[0].hops == ["n5", "n2"]


def test_crossing_slots_is_refused_and_not_followed():
    scene = Scene(only("multikey", groups=1, cross_slot=1.0))
    scene.run(200)
    failed = events(scene, "fail")
    assert {event.error.split()[0] for event in failed} == {"CROSSSLOT"}
    assert {event.hops is None for event in failed} == {True}
    invoked = {event.value and next(iter(event.value.values())): event.via for event in events(scene, "invoke")}
    assert "undeclared" in invoked.values()
    assert all(event.f == "mset" for event in events(scene, "ok"))


def test_an_error_from_within_a_script_leaves_the_outcome_open():
    scene = Scene(only("multikey", groups=1, reads=0.0, cross_slot=0.0))
    for node in scene.cluster.nodes.values():
        node.script_error = "OOM command not allowed script: 4ca2, on @user_script:1."
    scene.run(50)
    via = {event.process: event.via for event in events(scene, "invoke")}
    unknown = events(scene, "info")
    assert unknown
    assert {via[event.process] for event in unknown} == {"script"}
    assert not events(scene, "fail")


def test_a_reply_out_of_step_closes_the_connection():
    scene = Scene(writes_of_one_key())
    answer = scene.cluster.answer
    twice = iter([True])
    scene.cluster.answer = lambda connection, command: (
        answer(connection, command) * (2 if command[0] == "SET" and next(twice, False) else 1)
    )
    scene.run(20)
    first, second, *_ = events(scene, "ok", "info")
    assert (first.type, second.type) == ("info", "ok")
    assert "more replies" in first.error


def test_a_reply_of_the_wrong_kind_is_no_answer():
    scene = Scene(writes_of_one_key())
    answer = scene.cluster.answer
    scene.cluster.answer = lambda connection, command: b":7\r\n" if command[0] == "SET" else answer(connection, command)
    scene.run(20)
    ended = events(scene, "ok", "fail", "info")
    assert {event.type for event in ended} == {"info"}
    assert "expected OK and got 7" in ended[0].error
    names = [command for command in scene.cluster.nodes["n2"].commands if command[0] == b"CLIENT"]
    assert len(names) == len(ended)  # a connection of its own for each


def test_a_fixed_rate_is_kept_and_spread():
    scene = Scene(only(), 4, interval_ns=10_000_000)
    scene.run(200)
    assert len(events(scene, "invoke")) == pytest.approx(80, abs=4)
    firsts = [next(event.time for event in scene.memory.events if event.process == client) for client in range(4)]
    assert firsts == sorted(firsts)
    assert firsts[3] - firsts[0] > 6_000_000


def test_names_are_told_before_anything_else():
    scene = Scene(only(), 2)
    scene.run(20)
    for node in scene.cluster.nodes.values():
        if node.commands:
            assert node.commands[0][:2] == [b"CLIENT", b"SETNAME"]
    assert [b"CLIENT", b"SETNAME", b"cq-c1"] in [c for node in scene.cluster.nodes.values() for c in node.commands]


def test_a_cluster_that_is_down_makes_certain_failures():
    cluster = FakeCluster()
    for node in cluster.nodes.values():
        node.error = "CLUSTERDOWN The cluster is down"
    scene = Scene(writes_of_one_key(), cluster=cluster)
    operations = scene.run(200).operations
    assert set(operations.type) == {FAIL}
    assert len(operations) < 25


def without_a_map(client, seed, terms, learn, effects):
    return Bare(client, seed, terms, OneNode("n1"), effects)


def test_without_a_map_every_operation_begins_at_one_node_and_learns_nothing():
    scene = Scene(writes_of_one_key(), make=without_a_map)
    scene.run(50)
    done = events(scene, "ok")
    assert len(done) > 5
    assert all(event.hops == ["n1", owner_of_k0(scene.cluster)] for event in done)


def test_without_a_map_a_key_that_is_here_takes_one_hop():
    scene = Scene(writes_of_one_key(), make=without_a_map)
    scene.cluster.owners[SLOT] = "n1"
    scene.run(20)
    assert all(event.hops is None and event.node == "n1" for event in events(scene, "ok"))


def test_without_a_map_an_ask_is_followed_with_asking():
    scene = Scene(writes_of_one_key(), make=without_a_map)
    owner = owner_of_k0(scene.cluster)
    scene.cluster.open_slot(SLOT, "n3")
    scene.run(20)
    done = events(scene, "ok")
    assert done
    assert all(event.hops == ["n1", owner, "n3"] and event.asking for event in done)
