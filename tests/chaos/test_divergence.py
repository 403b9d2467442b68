"""Promotions as the servers' logs tell of them, and what the story makes of that."""

from chaos.report.divergence import Divergence, divergences

OLD, NEW, OTHER = "a" * 40, "b" * 40, "c" * 40


def promoted(id_, offset, time="14 Nov 2023 22:13:26.961"):
    words = f"Setting secondary replication ID to {id_}, valid up to offset: {offset}. New replication ID is {NEW}"
    return f"5:M {time} * {words}"


def asked(id_, offset):
    return f"2:S 14 Nov 2023 22:13:27.753 * Trying a partial resynchronization (request {id_}:{offset})."


def logged(tmp_path, **logs):
    for node, lines in logs.items():
        (tmp_path / f"{node}.log").write_text("\n".join(["1:M started", *lines, ""]))
    return divergences(tmp_path)


def test_what_an_old_primary_had_beyond_the_promoted_replica_is_counted_in_bytes(tmp_path):
    found = logged(tmp_path, n5=[asked(OLD, 1), promoted(OLD, 2358)], n2=[asked(OLD, 3484)], n6=[asked(OLD, 2358)])
    assert found == [Divergence("n5", 2358, {"n2": 1126})]


def test_offsets_of_another_replication_prove_nothing(tmp_path):
    found = logged(tmp_path, n5=[promoted(OLD, 100)], n2=[asked(OTHER, 3484)])
    assert found == [Divergence("n5", 100, {})]


def test_promotions_of_a_node_keep_their_order_and_sentinels_do_not_count(tmp_path):
    found = logged(tmp_path, n1=[promoted(OLD, 5), promoted(OTHER, 9)], s1=[promoted(OLD, 1)], n2=[asked(OTHER, 12)])
    assert found == [Divergence("n1", 5, {}), Divergence("n1", 9, {"n2": 3})]


def test_no_logs_tell_nothing(tmp_path):
    assert divergences(tmp_path / "logs") == []
