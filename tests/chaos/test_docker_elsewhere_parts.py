"""Parts of containers that are reached by published ports, or driven from the engine, which need no engine."""

from __future__ import annotations

import io
import json.decoder
import marshal
import sys
import tarfile
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from chaos.deploy.docker import far, orders, python_files
from chaos.deploy.docker.containers import Place
from chaos.deploy.docker.engine import OWNER, labels
from chaos.deploy.docker.network import Addresses
from chaos.deploy.docker.orders import Orders
from chaos.deploy.endpoints import links
from nemeses.system import InjectionFailed

SUBNET = IPv4Network("10.177.8.0/21")


# Published ports


def test_clients_behind_published_ports_cannot_be_told_apart():
    addresses = Addresses(SUBNET, 3, own=False, published=True)
    assert {addresses.client(number) for number in range(3)} == {"127.0.0.1"}
    assert not addresses.is_client(addresses.gateway, addresses.ports(0)[0])
    assert addresses.endpoints({"n1": 1}).keys() == {"n1"}
    with pytest.raises(InjectionFailed, match="no node or client 'c0'"):
        links(["c0"], ["n1"], addresses.endpoints({"n1": 1}))


def test_a_place_says_whose_network_it_is():
    assert Place("container:4711").holder == "4711"
    assert Place("cachequake-0", "10.177.8.11").holder is None
    assert Place("host").holder is None


# What a controller is told that is sent to the engine


def test_orders_arrive_as_they_were_given(monkeypatch):
    sent = Orders("/runs/steady", "somebody@elsewhere", "redis:8", [], "a note", "cachequake/helper:1")
    for name, value in sent.environment().items():
        monkeypatch.setenv(name, value)
    orders.given.cache_clear()
    try:
        assert orders.given() == sent
        assert labels()[OWNER] == "somebody@elsewhere"
    finally:
        monkeypatch.delenv(orders.VARIABLE)
        orders.given.cache_clear()
    assert orders.given() is None


# What is sent there


def test_the_interpreter_the_project_and_the_packages_it_imports_are_needed():
    needed = python_files.needed()
    names = {str(path) for path in needed}
    assert needed[0] == python_files.interpreter()
    assert len(names) == len(needed)
    for module in (far, tarfile, pytest.importorskip("redis"), pytest.importorskip("numpy")):
        assert str(Path(module.__file__).absolute()) in names
    assert not any("/numpy/tests/" in name or "/__pycache__/" in name for name in names)
    assert str(Path(far.__file__).parents[3].absolute()) in python_files.search_path().split(":")


def test_bytecode_is_where_python_looks_and_is_not_compared_with_the_source():
    compiled = python_files.compiled()  # pytest may load our own modules in its own way, but not those of others
    place = next(place for place in compiled if place.endswith(f"decoder.{sys.implementation.cache_tag}.pyc"))
    assert compiled[place][4:8] == b"\1\0\0\0"
    assert marshal.loads(compiled[place][16:]).co_filename == json.decoder.__file__


# What comes back


def _tar(**files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


def test_what_was_recorded_replaces_what_is_here_and_nothing_else_does(tmp_path):
    run = tmp_path / "run"
    (run / "parts").mkdir(parents=True)
    (run / "parts" / "controller.jsonl").write_text("from before\n")
    (run / "plan.json").write_text("the plan")
    recorded = {
        "run/history.jsonl": b"whole\n",
        "run/logs/n1.log": b"words\n",
        "run/plan.json": b"another plan",
        "run/work/n1/dump.rdb": b"data",
        "run/cache/cachequake/skew.so": b"library",
        "run/lock": b"",
        "run/../../outside": b"outside",
    }
    with _tar(**recorded) as tar:
        far._unpack(tar, run)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {"run/history.jsonl", "run/logs/n1.log", "run/plan.json"}
    assert (run / "plan.json").read_text() == "the plan"
