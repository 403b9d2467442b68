"""Runs on the workers of a Dask cluster: what they leave comes back, whatever its name is here already."""

from __future__ import annotations

import sys

import pytest

from chaos import on_dask
from chaos.errors import BadInput
from chaos.on_dask import DaskWorkers, dask_workers, pack, unpack


class Future:
    def __init__(self, answer):
        self.answer = answer

    def result(self):
        return self.answer


class Cluster:
    """Does at once, and here, what a Dask client has done elsewhere."""

    def nthreads(self):
        return {"tcp://a": 2, "tcp://b": 1}

    def map(self, function, items, pure):
        assert not pure, "the same schedule twice is two runs"
        return [Future(function(item)) for item in items]


def leave_a_run(out, item):
    (out / f"run-{item}" / "logs").mkdir(parents=True)
    (out / f"run-{item}" / "plan.json").write_text(item)
    (out / "latest").symlink_to(f"run-{item}")
    return item.upper()


def test_answers_and_runs_come_back_in_order(tmp_path):
    workers = DaskWorkers(Cluster())
    assert workers.count == 3
    arrived = []
    assert list(workers.each(leave_a_run, tmp_path / "runs", ["a", "b"], arrived.append)) == ["A", "B"]
    assert arrived == [tmp_path.resolve() / "runs" / "run-a", tmp_path.resolve() / "runs" / "run-b"]
    assert (tmp_path / "runs" / "run-a" / "plan.json").read_text() == "a"
    assert (tmp_path / "runs" / "latest").resolve().name == "run-b"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["latest", "run-a", "run-b"]


def test_a_run_that_comes_back_takes_no_other_ones_place(tmp_path):
    leave_a_run(tmp_path / "there", "a")
    for _ in range(2):
        unpack(pack(tmp_path / "there"), tmp_path / "here")
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["latest", "run-a", "run-a-2"]


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match=r"pip install 'cachequake\[dask\]'"), dask_workers("", 1):
        pass


def test_an_address_where_nobody_answers_is_refused(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(on_dask, "CONNECT_S", 1)
    with pytest.raises(BadInput, match="no scheduler answers there"), dask_workers("tcp://127.0.0.1:9", 1):
        pass
