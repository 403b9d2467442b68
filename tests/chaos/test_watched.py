"""One primary that Sentinels watch: where clients believe it is, and under which epoch it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.errors import BadInput
from chaos.routes.placement import Guided
from chaos.routes.slotmap import Directory
from chaos.routes.watched import Watched
from chaos.topologies import ClusterSpec, make_topology
from chaos.topologies.watch import Reigns, Watch
from nemeses.sentinels import Sight
from nemeses.system import Node, ReplyError, Unreachable

SERVERS, SENTINELS = ("n1", "n2", "n3"), ("s1", "s2", "s3")
NODES = {name: ("10.0.0.1", port) for port, name in enumerate((*SERVERS, *SENTINELS), 1)}


def test_every_key_is_at_the_primary_until_a_sentinel_names_another() -> None:
    placement = Watched("n1", SERVERS, SENTINELS)
    assert isinstance(placement, Guided)
    assert placement.guides == SENTINELS
    placement.moved(7, "n3")
    assert placement.place("k0") == "n1"
    learned = placement.learned([b"10.0.0.1", b"2"], Directory(NODES, {}), "s1")
    assert (learned.place("k0"), learned.replicas("n2"), learned.guides) == ("n2", ["n1", "n3"], SENTINELS)
    assert placement.place("k0") == "n1"


@pytest.mark.parametrize("reply", [None, [b"10.0.0.1"], [b"10.9.9.9", b"1"], ReplyError("ERR no"), [b"10.0.0.1", b"x"]])
def test_an_answer_that_names_no_server_is_none(reply: Any) -> None:
    with pytest.raises(ValueError, match="as the primary"):
        Watched("n1", SERVERS, SENTINELS).learned(reply, Directory(NODES, {}), "s1")


def test_a_promoted_replica_has_no_epoch_until_a_sentinel_names_it() -> None:
    reigns = Reigns()
    reigns.named(Sight("n1", 0))
    reigns.is_replica("n2", reigns.newest)
    assert (reigns.epoch("n1"), reigns.epoch("n2")) == (0, None)
    reigns.named(Sight("n2", 1))
    reigns.named(Sight("n1", 0))  # a Sentinel that has not heard of it
    assert (reigns.epoch("n1"), reigns.epoch("n2")) == (0, 1), "a deposed primary keeps its own"


def test_who_is_promoted_again_does_not_get_its_old_epoch_back() -> None:
    reigns = Reigns()
    reigns.named(Sight("n1", 0))
    reigns.named(Sight("n2", 1))
    reigns.is_replica("n1", reigns.newest)
    assert reigns.epoch("n1") is None
    reigns.named(Sight("n1", 2))
    assert reigns.epoch("n1") == 2


class Said:
    """A system whose servers and Sentinels answer what they are told to; an exception among it is raised."""

    nodes = {name: Node(name, *address, 0) for name, address in NODES.items()}

    def __init__(self) -> None:
        self.replication: dict[str, list[Any]] = {}
        self.master: list[bytes | int] = []

    def call(self, node: str, *arguments: Any, timeout_ms: int = 0) -> Any:
        if arguments[0] == "SENTINEL":
            return self.master
        if arguments[0] == "CLUSTER":
            raise ReplyError("ERR This instance has cluster support disabled")
        said = self.replication[node].pop(0)
        if isinstance(said, Exception):
            raise said
        return said.encode()


def following(port: int, link: str) -> str:
    return f"role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:{port}\r\nmaster_link_status:{link}\r\n"


def test_a_replica_is_shown_with_the_primary_whose_data_it_has() -> None:
    system = Said()
    watch = Watch(system, lambda value: None, SERVERS)
    links = [following(1, "up"), following(1, "down"), following(2, "down"), following(2, "up"), "role:master\r\n"]
    system.replication["n3"] = [*links, following(2, "down")]
    seen = [watch._look("n3") for _ in range(6)]
    assert [view["primary"] for view in seen if view] == ["n1", "n1", None, "n2", None, None]


def test_a_connection_that_a_sentinel_ended_does_not_make_a_server_look_dead() -> None:
    system = Said()
    watch = Watch(system, lambda value: None, SERVERS)
    system.replication["n3"] = [Unreachable("reset"), following(1, "up"), Unreachable("reset"), Unreachable("refused")]
    assert [(watch._look("n3") or {})["state"] for _ in range(2)] == ["up", "down"]


def test_a_sentinel_tells_whom_it_believes() -> None:
    system = Said()
    watch = Watch(system, lambda value: None, SENTINELS)
    system.master = [b"ip", b"10.0.0.1", b"port", 2, b"flags", b"master", b"config-epoch", b"4"]
    assert watch._look("s1") == {"node": "s1", "state": "up", "role": "sentinel", "primary": "n2", "epoch": 4}
    system.master[5] = b"master,failover_in_progress"
    assert watch._look("s1") is None
    system.replication["n2"] = ["role:master\r\n"]
    said = watch._look("n2")
    assert said is not None
    assert (said["epoch"], said["slots"]) == (4, [[0, 16383]])


def test_one_primary_and_sentinels() -> None:
    topology = make_topology(ClusterSpec(topology="replication", primaries=1, replicas=2))
    assert [(member.name, member.program) for member in topology.members] == [
        *((name, "server") for name in SERVERS),
        *((name, "sentinel") for name in SENTINELS),
    ]
    assert topology.groups == {"servers": [*SERVERS], "sentinels": [*SENTINELS]}
    assert topology.target("primary of k0", "bare") == "a primary"
    assert topology.target("s2", "bare") == "s2"
    with pytest.raises(BadInput, match="one primary"):
        make_topology(ClusterSpec(topology="replication", primaries=2))
    with pytest.raises(BadInput, match="at least one Sentinel"):
        make_topology(ClusterSpec(topology="replication", primaries=1, options={"sentinels": 0}))
