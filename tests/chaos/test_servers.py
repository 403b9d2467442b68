"""Which server is found, and what is said when none is."""

import os
import stat
from pathlib import Path

import pytest

from chaos.deploy import servers
from chaos.errors import ServerError


def script(path: Path, says: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(mode)
    return path


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No server named and none on PATH."""
    monkeypatch.delenv(servers.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "_embedded", lambda: None)
    return tmp_path


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1", "valkey 9.1.2"),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", "redis 7.0.15"),
    ],
)
def test_a_server_says_its_name_and_version(tmp_path, says, expected):
    assert str(servers.identify(script(tmp_path / "server", says))) == expected


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("Redis server v=6.2.14 sha=0", "is Redis 6.2.14; 7.0 or later is needed"),
        ("curl 8.1", "is not a Redis or Valkey server: asked for its version, it said 'curl 8.1'"),
    ],
)
def test_another_program_is_refused_in_its_own_words(tmp_path, says, message):
    with pytest.raises(ServerError, match=message):
        servers.identify(script(tmp_path / "server", says))


def test_redis_on_the_path_comes_before_valkey_and_the_wheel(bare, monkeypatch):
    wheel = script(bare / "wheel", "Valkey server v=9.1.2")
    monkeypatch.setattr(servers, "_embedded", lambda: wheel)
    assert servers.find().path == wheel
    script(bare / "valkey-server", "Valkey server v=8.0.1")
    assert str(servers.find()) == "valkey 8.0.1"
    script(bare / "redis-server", "Redis server v=7.2.4")
    assert str(servers.find()) == "redis 7.2.4"


def test_an_old_server_on_the_path_is_passed_over(bare):
    script(bare / "redis-server", "Redis server v=6.0.16")
    script(bare / "valkey-server", "Valkey server v=8.0.1")
    assert str(servers.find()) == "valkey 8.0.1"


def test_the_named_one_comes_first_and_must_work(bare, monkeypatch):
    script(bare / "redis-server", "Redis server v=7.2.4")
    variable = script(bare / "other", "Valkey server v=8.1.0")
    monkeypatch.setenv(servers.VARIABLE, str(variable))
    assert str(servers.find()) == "valkey 8.1.0"
    assert str(servers.find(bare / "redis-server")) == "redis 7.2.4"
    with pytest.raises(ServerError, match="--server names /nowhere/redis-server, which does not exist"):
        servers.find("/nowhere/redis-server")
    monkeypatch.setenv(servers.VARIABLE, str(script(bare / "plain", "", 0o644)))
    with pytest.raises(ServerError, match=f"{servers.VARIABLE} names .*plain, which is not executable"):
        servers.find()


def test_without_any_server_the_message_says_what_to_do(bare):
    script(bare / "redis-server", "Redis server v=5.0.0")
    with pytest.raises(ServerError, match=r"--server PATH or CACHEQUAKE_SERVER\n  passed over: .* is Redis 5\.0\.0"):
        servers.find()


def test_a_lost_executable_bit_is_set_again(tmp_path):
    path = script(tmp_path / "server", "Valkey server v=9.1.2", 0o644)
    assert servers.executable(path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_file_of_somebody_else_is_copied_once(tmp_path, monkeypatch):
    path = script(tmp_path / "server", "Valkey server v=9.1.2", 0o644)
    chmod = Path.chmod

    def refuse(self, mode):
        if self == path:
            raise PermissionError(1, "Operation not permitted")
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copy = servers.executable(path)
    assert copy.is_relative_to(tmp_path / "cache")
    assert os.access(copy, os.X_OK)
    assert copy.read_text() == path.read_text()
    inode = copy.stat().st_ino
    assert servers.executable(path).stat().st_ino == inode
    assert [file.name for file in copy.parent.iterdir()] == [copy.name]
