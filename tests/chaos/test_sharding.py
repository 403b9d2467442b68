"""Where clients that shard by themselves put a key: known vectors, minimal movement, hash tags."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.routes.placement import Placement, Told
from chaos.routes.sharding import Sharded
from chaos.sharding import WAYS, locator, modulo, ring

KEYS = [f"k{number}" for number in range(5_000)]
SERVERS = [f"10.0.1.{number}:11211" for number in range(1, 9)]
LIBKETAMA = (
    "0:1 233:7 466:3 699:1 932:6 1165:2 1398:1 1631:6 1864:5 2097:3 2330:7 2563:3 3728:8 3961:4 10019:5 126985:7"
)
"""Keys and the last number of their server, as libketama answers for `SERVERS` (from the tests of spymemcached)."""
keys = st.text(min_size=1).filter(lambda text: "{" not in text)


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize("pair", LIBKETAMA.split())
def test_the_ring_is_that_of_libketama(pair: str) -> None:
    key, server = pair.split(":")
    assert ring(SERVERS)(key) == f"10.0.1.{server}:11211"


def test_the_modulus_takes_the_crc_32_of_zlib_and_the_order_of_the_nodes() -> None:
    # 0xCBF43926 is the check value of CRC-32, that of "123456789".
    assert crc32(b"123456789") == 0xCBF43926
    assert modulo(names(5))("123456789") == f"n{0xCBF43926 % 5 + 1}"
    assert modulo(names(5)[::-1])("123456789") == f"n{5 - 0xCBF43926 % 5}"


@pytest.mark.parametrize("way", WAYS)
@given(tag=keys, one=st.text(), other=st.text())
def test_keys_of_one_tag_are_on_one_node(way: str, tag: str, one: str, other: str) -> None:
    tag = tag.replace("}", "") or "g"
    place = WAYS[way](names(5), 40)
    assert place(f"{{{tag}}}{one}") == place(f"{{{tag}}}{other}") == place(tag)


@given(st.integers(1, 6), keys, st.sampled_from([1, 10, 40, 160]))
def test_a_node_that_joins_a_ring_takes_keys_and_nobody_else_gets_one(count: int, key: str, points: int) -> None:
    before, after = ring(names(count), points)(key), ring(names(count + 1), points)(key)
    assert after in (before, f"n{count + 1}")


@given(st.integers(2, 6), st.data(), keys)
def test_a_node_that_leaves_a_ring_gives_its_keys_away_and_moves_no_other(
    count: int, data: st.DataObject, key: str
) -> None:
    gone = data.draw(st.sampled_from(names(count)))
    before = ring(names(count), 40)(key)
    after = ring([name for name in names(count) if name != gone], 40)(key)
    assert after == before or before == gone


def test_the_order_of_the_nodes_does_not_matter_to_a_ring() -> None:
    assert [ring(names(5))(key) for key in KEYS[:500]] == [ring(names(5)[::-1])(key) for key in KEYS[:500]]


@pytest.mark.parametrize(("way", "least", "most"), [("modulo", 0.75, 0.85), ("ring", 0.15, 0.25)])
def test_from_four_to_five_nodes_a_modulus_moves_four_fifths_and_a_ring_one(
    way: str, least: float, most: float
) -> None:
    before, after = locator(way, names(4)), locator(way, names(5))
    assert least < sum(before(key) != after(key) for key in KEYS) / len(KEYS) < most


@pytest.mark.parametrize("points", [1, 10, 40, 160])
def test_each_node_has_as_many_points_as_was_asked(points: int) -> None:
    from uhashring import HashRing

    whole = points % 4 == 0
    circle = HashRing(names(3), hash_fn="ketama", vnodes=points // 4 if whole else points, replicas=4 if whole else 1)
    assert len(circle.get_points()) == 3 * points
    assert [circle.get_node(key) for key in KEYS[:200]] == [ring(names(3), points)(key) for key in KEYS[:200]]


def test_more_points_share_the_keys_more_evenly() -> None:
    def hottest(points: int) -> int:
        place = ring(names(4), points)
        nodes = [place(key) for key in KEYS]
        return max(nodes.count(node) for node in names(4))

    assert hottest(1) > hottest(40) > len(KEYS) / 4


def test_a_client_looks_elsewhere_once_it_is_told_of_other_nodes() -> None:
    placement = Sharded("ring", names(4), 160)
    told = placement.among(names(5))
    assert isinstance(placement, Told)
    moved = {key for key in KEYS if placement.place(key) != told.place(key)}
    assert moved
    assert {told.place(key) for key in moved} == {"n5"}


def test_a_client_that_shards_asks_nobody_and_has_no_replicas() -> None:
    placement: Placement = Sharded("modulo", names(4), 160)
    placement.moved(7, "n2")
    assert placement.question is None
    assert placement.replicas("n1") == ()
