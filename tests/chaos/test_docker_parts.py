"""Parts of the deployment `docker` that need no engine."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from isolated import run_isolated

from chaos.deploy import namespace, nftables
from chaos.deploy.docker import images
from chaos.deploy.docker.containers import MEMORY, PROCESSES
from chaos.deploy.docker.engine import Once
from chaos.deploy.docker.links import drops_for
from chaos.deploy.docker.network import SUBNETS, Addresses
from chaos.deploy.nftables import Drop
from chaos.deploy.programs import PROGRAMS
from chaos.topologies.cluster import IN_CLUSTER, PREFERRED
from chaos.transport import local_address
from nemeses.system import InjectionFailed

SUBNET = IPv4Network("10.177.8.0/21")
NODES = {"n1": 1, "n2": 2}


# Addresses


def test_every_client_has_an_address_of_its_own_where_it_can():
    addresses = Addresses(SUBNET, 600, own=True)
    taken = [addresses.gateway, addresses.node(1), addresses.node(240), *(addresses.client(c) for c in range(600))]
    assert len(set(taken)) == len(taken)
    assert all(IPv4Network(address).subnet_of(SUBNET) for address in taken)
    assert addresses.is_client(addresses.client(599), 1)
    strangers = [addresses.gateway, addresses.node(240), "10.177.16.1", "::1", "", str(SUBNET[256 + 600])]
    assert not any(addresses.is_client(other, 1) for other in strangers)


def test_clients_that_share_an_address_are_told_by_their_ports():
    addresses = Addresses(SUBNET, 3, own=False)
    ranges = [addresses.ports(client) for client in range(3)]
    assert all(first < last < following for (first, last), (following, _) in pairwise(ranges))
    assert addresses.client(0) == f"10.177.8.1:{ranges[0][0]}-{ranges[0][1]}"
    assert addresses.is_client(addresses.gateway, ranges[2][1])
    assert not addresses.is_client(addresses.gateway, 40_000)
    assert not addresses.is_client(addresses.node(1), ranges[0][0])


def test_subnets_do_not_overlap():
    assert len(SUBNETS) == 64
    assert not any(one.overlaps(other) for one, other in pairwise(SUBNETS))


def test_a_source_names_an_address_or_a_range_of_its_ports():
    assert local_address("10.0.0.1") == ("10.0.0.1", 0)
    assert local_address("fd00::1") == ("fd00::1", 0)
    assert [local_address("10.0.0.1:7-8") for _ in range(3)] == [("10.0.0.1", 7), ("10.0.0.1", 8), ("10.0.0.1", 7)]


# Rules


def _drops(pairs, port="all", own=True, percent=100):
    addresses = Addresses(SUBNET, 2, own)
    return drops_for(pairs, addresses.endpoints(NODES), port, percent), addresses


def test_a_node_drops_what_it_should_not_get():
    drops, addresses = _drops([("n1", "n2"), ("c0", "n2")])
    assert drops == {
        "n2": [
            Drop("input", addresses.client(0), addresses.node(2)),
            Drop("input", addresses.node(1), addresses.node(2)),
        ]
    }


def test_what_a_client_should_not_get_is_dropped_where_it_leaves():
    drops, addresses = _drops([("n1", "c1")])
    assert drops == {"n1": [Drop("output", addresses.node(1), addresses.client(1))]}
    drops, addresses = _drops([("n1", "c1")], own=False)
    assert drops["n1"][0].destination_ports == addresses.ports(1)
    drops, addresses = _drops([("c1", "n1")], own=False)
    assert drops["n1"][0].source_ports == addresses.ports(1)


@pytest.mark.parametrize(("port", "number"), [("data", 6379), ("bus", 16379)])
def test_a_port_is_cut_for_those_who_dial_it_and_for_what_it_answers(port, number):
    drops, _ = _drops([("n1", "n2")], port)
    dialled, answering = drops["n2"]
    assert (dialled.source_ports, dialled.destination_ports) == (None, (number, number))
    assert (answering.source_ports, answering.destination_ports) == ((number, number), None)


def test_between_clients_there_is_nothing_to_cut():
    with pytest.raises(InjectionFailed, match="between clients"):
        _drops([("c0", "c1")])


@pytest.mark.skipif(namespace.available() is not None, reason="no namespaces here")
def test_the_kernel_does_what_tables_say():
    run_isolated(tables_drop_what_they_say_and_nothing_else)


def tables_drop_what_they_say_and_nothing_else():
    source, destination = "127.0.66.1", "127.0.66.2"
    nftables.add("one", [Drop("input", source, destination), Drop("output", destination="127.0.66.3")])
    assert nftables.count("one") == 2
    assert not _arrives(source, destination)
    assert not _arrives(source, "127.0.66.3")
    assert _arrives(destination, source)
    with pytest.raises(OSError, match="File exists"):
        nftables.add("one", [])
    nftables.add("two", [Drop("input", source, destination, percent=50)])
    nftables.delete("one")
    assert nftables.count("one") == 0
    arrived = sum(_arrives(source, destination) for _ in range(60))
    assert 5 < arrived < 55
    nftables.delete("two")
    assert _arrives(source, destination)
    with pytest.raises(FileNotFoundError):
        nftables.delete("two")
    with pytest.raises(OSError, match="No such file") as refused:
        nftables._transact([(0, 0x400, nftables._text(1, "half")), (2, 0, nftables._text(1, "none"))])
    assert refused.value.errno == errno.ENOENT
    nftables.add("half", [])  # a transaction that fails makes nothing
    for ports, reached in (((1, 65535), False), ((7, 7), True)):
        nftables.add("ports", [Drop("input", destination=destination, destination_ports=ports)])
        assert _connects(destination) == reached
        nftables.delete("ports")


def _arrives(source, destination):
    with socket.socket(type=socket.SOCK_DGRAM) as sender, socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind((destination, 0))
        sender.bind((source, 0))
        try:
            sender.sendto(b"?", receiver.getsockname())
            receiver.settimeout(0.05)
            return bool(receiver.recv(1))
        except (TimeoutError, PermissionError):
            return False


def _connects(host):
    with socket.create_server((host, 0)) as server, socket.socket() as client:
        client.settimeout(0.3)
        try:
            client.connect(server.getsockname())
        except TimeoutError:
            return False
        return True


# Images, and the rest


def test_an_archive_of_the_same_files_is_the_same(tmp_path):
    file = tmp_path / "server"
    file.write_bytes(b"program")
    first = images._archive({"/usr/bin/server": file})
    file.touch()
    assert images._archive({"/usr/bin/server": file}) == first
    file.write_bytes(b"another")
    assert images._archive({"/usr/bin/server": file}) != first


def test_libraries_are_found_at_the_paths_where_they_are_looked_for():
    found = images._libraries([Path("/bin/sh"), Path(__file__)])
    assert any(path.name.startswith("libc.so") for path in found)
    assert any("ld-" in path.name for path in found), "the loader is one of them"
    assert all(path.is_absolute() for path in found)


def test_what_is_needed_once_is_made_once():
    made = []
    once = Once(lambda: made.append(1) or len(made))
    assert [once(), once()] == [1, 1]


def test_the_compose_file_makes_what_a_run_makes():
    composed = yaml.safe_load((Path(__file__).parents[2] / "docker" / "compose.yaml").read_text())
    words = composed["x-node"]["command"]
    said = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    assert said == PROGRAMS["server"].defaults | IN_CLUSTER | PREFERRED | {"dir": images.DATA}
    (network,) = composed["networks"].values()
    subnet = IPv4Network(network["ipam"]["config"][0]["subnet"])
    assert network["internal"]
    assert not any(subnet.overlaps(other) for other in SUBNETS)
    assert list(composed["services"]) == [f"n{number}" for number in range(1, 7)]
    for node in composed["services"].values():
        assert IPv4Network(node["networks"]["nodes"]["ipv4_address"]).subnet_of(subnet)
        assert "ports" not in node
        assert (node["mem_limit"], node["pids_limit"]) == (MEMORY, PROCESSES)
        assert (node["cap_drop"], node["read_only"], node["security_opt"]) == (["ALL"], True, ["no-new-privileges"])
