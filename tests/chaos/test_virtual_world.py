"""The world of virtual time without servers: events, threads, and what the simulated network does to bytes."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.deploy.virtual.crash import Crash
from chaos.deploy.virtual.links import RETRY_NS, Disturbance, Links
from chaos.deploy.virtual.network import DIAL_NS, Network
from chaos.deploy.virtual.world import TICK_NS, World
from chaos.errors import RunFailed
from nemeses.system import CrashPlan, Interrupted

MS = 1_000_000


class Ear:
    """An end of a connection that notes what it is told, and when."""

    def __init__(self, world):
        self.world = world
        self.heard = []

    def connected(self):
        self.heard.append((self.world.now, "connected"))

    def refused(self, error):
        self.heard.append((self.world.now, errno.errorcode[error]))

    def take(self, data):
        self.connection.flows[1 - self.side].taken(len(data))
        self.heard.append((self.world.now, data))

    def ended(self):
        self.heard.append((self.world.now, "ended"))

    def broken(self):
        self.heard.append((self.world.now, "broken"))

    @property
    def words(self):
        return [word for _, word in self.heard]


class Door:
    """A node that accepts connections."""

    address = ("10.0.0.2", 6379)

    def __init__(self, world):
        self.world = world
        self.ears = []

    def accept(self, connection, source):
        ear = Ear(self.world)
        ear.connection, ear.side = connection, 1
        self.ears.append(ear)
        return ear


def network(seed=1):
    world = World()
    return world, Network(world, Links(seed), {"10.0.0.1": "n1", "10.0.0.2": "n2"})


def dial(world, net, at=0):
    ear = Ear(world)
    ear.side = 0
    ear.connection = net.connect("n1", ("10.0.0.1", 40_000), Door.address, ear, at)
    return ear


def connected(seed=1):
    world, net = network(seed)
    door = Door(world)
    net.listen(door)
    ear = dial(world, net)
    world.sleep_until(10 * MS)
    assert ear.words == ["connected"]
    return world, net, ear, door.ears[0]


def test_events_happen_in_the_order_of_their_times_and_of_asking():
    world = World()
    seen = []
    for time, name in [(5, "c"), (1, "a"), (5, "d"), (3, "b")]:
        world.at(time, seen.append, name)
    world.sleep_until(10)
    assert seen == ["a", "b", "c", "d"]
    assert world.now == 10


def test_no_two_readings_of_the_clock_are_equal():
    world = World()
    assert [world.read_clock() for _ in range(3)] == [TICK_NS, 2 * TICK_NS, 3 * TICK_NS]


@given(st.lists(st.lists(st.integers(1, 50), max_size=5), min_size=1, max_size=5))
def test_threads_go_on_by_time_then_by_the_order_in_which_they_began_to_wait(naps):
    def run():
        world = World()
        seen = []

        def sleeper(number):
            for nap in naps[number]:
                world.sleep_until(world.now + nap)
                seen.append((world.now, number))

        threads = [world.thread(lambda number=number: sleeper(number), str(number)) for number in range(len(naps))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen

    first = run()
    assert first == run()
    assert [time for time, _ in first] == sorted(time for time, _ in first)
    assert len(first) == sum(map(len, naps))


def test_a_flag_wakes_who_waits_and_a_timeout_does_not_raise_it():
    world = World()
    flag = world.event()
    woken = []

    def wait():
        woken.append((flag.wait(1.0), world.now))

    thread = world.thread(wait, "waits")
    thread.start()
    assert not flag.wait(0.25)
    flag.set()
    thread.join()
    assert woken == [(True, 250 * MS)]


def test_an_interrupt_ends_a_sleep_and_only_one_that_may_be_ended():
    world = World()
    ends = []

    def sleep():
        with pytest.raises(Interrupted):
            world.sleep_until(1_000 * MS)
        ends.append(world.now)

    thread = world.thread(sleep, "sleeps")
    thread.start()
    world.at(7 * MS, world.interrupt)
    world.sleep_until(20 * MS, interruptible=False)
    thread.join()
    assert ends == [7 * MS]
    with pytest.raises(Interrupted):
        world.sleep_until(world.now + 1)
    world.clear_interrupt()
    world.sleep_until(world.now + 1)


def test_waiting_for_what_never_comes_is_an_error_and_no_hang():
    with pytest.raises(RunFailed, match="nothing is left to happen"):
        World().event().wait()


def test_what_breaks_the_world_reaches_everybody_who_waits():
    world = World()
    told = []

    def wait():
        try:
            world.sleep_until(100 * MS)
        except RunFailed as error:
            told.append(str(error))

    thread = world.thread(wait, "waits")
    thread.start()
    world.at(MS, lambda: 1 // 0)
    with pytest.raises(RunFailed, match="division"):
        world.sleep_until(50 * MS)
    assert world.now == MS
    with pytest.raises(RunFailed):
        thread.join()


@given(st.integers(0, 2**32), st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=20))
def test_bytes_arrive_complete_in_order_and_at_the_same_times_for_a_seed(seed, messages):
    def run():
        world, _, ear, other = connected(seed)
        for message in messages:
            ear.connection.flows[0].send(message, world.now)
        ear.connection.close(0, world.now)
        world.sleep_until(50 * MS)
        return other.heard

    heard = run()
    assert [word for _, word in heard] == [*messages, "ended"]
    assert heard == run()


def test_nobody_listens():
    world, net = network()
    ear = dial(world, net)
    world.sleep_until(10 * MS)
    assert ear.words == ["ECONNREFUSED"]


def test_a_connect_through_a_cut_link_is_tried_again_and_stands_after_healing():
    world, net = network()
    net.listen(Door(world))
    cut = net.links.cut(["n1"], ["n2"], "all")
    ear = dial(world, net)
    world.sleep_until(500 * MS)
    assert ear.heard == []
    net.links.heal(cut)
    world.sleep_until(2_000 * MS)
    assert ear.words == ["connected"]
    assert ear.heard[0][0] > DIAL_NS


def test_a_cut_holds_bytes_back_in_one_direction_and_they_come_at_the_next_try():
    world, net, ear, other = connected()
    cut = net.links.cut(["n1"], ["n2"], "data")
    began = world.now
    ear.connection.flows[0].send(b"there", world.now)
    other.connection.flows[1].send(b"back", world.now)
    world.sleep_until(began + 300 * MS)
    assert ear.words == ["connected", b"back"]
    assert other.words == []
    net.links.heal(cut)
    ear.connection.flows[0].send(b"after", world.now)
    world.sleep_until(began + 2_000 * MS)
    assert other.words == [b"there", b"after"]
    assert other.heard[0][0] >= began + 3 * RETRY_NS, "the second retransmission: 200 ms and then 400 ms"


def test_a_cut_of_the_bus_leaves_the_data_port_alone():
    world, net, ear, other = connected()
    net.links.cut(["n1"], ["n2"], "bus")
    ear.connection.flows[0].send(b"through", world.now)
    world.sleep_until(world.now + 10 * MS)
    assert other.words == [b"through"]


def test_cuts_add_up():
    links = Links(1)
    first, second = links.cut(["n1"], ["n2"], "all"), links.cut(["n1"], ["n2", "n3"], "data")
    links.heal(first)
    assert not links.open("n1", "n2", "data")
    assert links.open("n1", "n2", "bus")
    assert links.open("n2", "n1", "data")
    links.heal(second)
    links.heal(second)
    assert links.open("n1", "n3", "data")


def test_what_is_lost_comes_again_and_overtakes_nothing():
    world, net, ear, other = connected()
    handle = net.links.disturb(["n1"], ["n2"], Disturbance(loss=0.5))
    for number in range(20):
        ear.connection.flows[0].send(b"%d" % number, world.now)
    world.sleep_until(world.now + 60_000 * MS)
    assert other.words == [b"%d" % number for number in range(20)]
    assert other.heard[-1][0] - other.heard[0][0] > RETRY_NS
    net.links.heal(handle)
    began = world.now
    ear.connection.flows[0].send(b"at once", began)
    world.sleep_until(began + 10 * MS)
    assert other.words[-1] == b"at once"


def test_a_narrow_link_lets_through_what_its_bandwidth_allows():
    world, net, ear, other = connected()
    net.links.disturb(["n1"], ["n2"], Disturbance(bits_per_s=1e6, delay_ns=7 * MS))
    began = world.now
    for _ in range(10):
        ear.connection.flows[0].send(bytes(12_500), began)
    world.sleep_until(began + 5_000 * MS)
    assert other.heard[-1][0] - began > 1_000 * MS
    assert other.heard[-1][0] - began < 1_050 * MS


def test_bytes_for_an_end_that_is_gone_are_answered_with_a_reset():
    world, _, ear, other = connected()
    other.connection.close(1, world.now)
    world.sleep_until(world.now + 10 * MS)
    assert ear.words == ["connected", "ended"]
    ear.connection.flows[0].send(b"too late", world.now)
    world.sleep_until(world.now + 10 * MS)
    assert ear.words == ["connected", "ended", "broken"]


def test_a_sender_far_ahead_of_its_receiver_waits_until_there_is_room():
    world, _, ear, other = connected()
    flow = ear.connection.flows[0]
    told = []
    flow.has_room = lambda: told.append(world.now)
    flow.send(b"x" * (5 << 20), world.now)
    assert flow.full
    world.sleep_until(world.now + 10 * MS)
    assert not flow.full
    assert told
    assert len(other.heard) == 1


def test_messages_of_several_connections_overtake_each_other_and_within_one_none_does():
    world, net = network(3)
    door = Door(world)
    net.listen(door)
    ears = [dial(world, net) for _ in range(4)]
    world.sleep_until(10 * MS)
    handle = net.links.disturb(["n1"], ["n2"], Disturbance(shuffle_ns=50 * MS))
    sent = [(number, ear) for number in range(20) for ear in range(4)]
    for number, ear in sent:
        ears[ear].connection.flows[0].send(b"%d" % number, world.now)
        world.sleep_until(world.now + MS)
    world.sleep_until(world.now + 1_000 * MS)
    others = [next(other for other in door.ears if other.connection is ear.connection) for ear in ears]
    for other in others:
        assert other.words == [b"%d" % number for number in range(20)]
    arrived = sorted((time, word) for other in others for time, word in other.heard)
    assert [word for _, word in arrived] != [b"%d" % number for number, _ in sent]
    shuffled = net.links.shuffled(handle)
    assert shuffled.messages == len(sent)
    times = [others[ear].heard[number][0] for number, ear in sent]
    assert 0 < shuffled.overtaking <= sum(time < max(times[:place], default=0) for place, time in enumerate(times))


def test_nothing_reaches_a_machine_that_is_off_and_nothing_comes_from_it():
    world, net, ear, other = connected()
    net.links.turn_off("n2")
    ear.connection.flows[0].send(b"there", world.now)
    other.connection.flows[1].send(b"back", world.now)
    late = dial(world, net, world.now)
    world.sleep_until(world.now + 900 * MS)
    assert (ear.words, other.words, late.words) == (["connected"], [], [])
    net.links.turn_on("n2")
    world.sleep_until(world.now + 2_000 * MS)
    assert (ear.words, other.words, late.words) == (["connected", b"back"], [b"there"], ["connected"])


class Machine:
    """What `Crash` needs of a process: the streams that it sends."""

    name = "n2"
    after_turn = None

    def __init__(self, *flows):
        self.sends = list(flows)
        self.killed = False

    def flows(self):
        return self.sends

    def kill(self):
        self.killed = True


@pytest.mark.parametrize(
    ("keep", "arrives"), [(0, []), (3, [b"abc"]), (7, [b"abcd", b"efg"]), (None, [b"abcd", b"efgh"])]
)
def test_of_the_bytes_under_way_so_many_arrive_when_a_machine_crashes_and_no_end(keep, arrives):
    world, net, ear, other = connected()
    flow = other.connection.flows[1]
    machine = Machine(flow)
    crash = Crash(machine, net.links, CrashPlan("replication", keep, 0), world.now)
    machine.after_turn(world.now)
    assert crash.seen() is None, "nothing is under way"
    flow.send(b"abcd", world.now)
    flow.send(b"efgh", world.now)
    machine.after_turn(world.now)
    other.connection.close(1, world.now)
    seen = crash.seen()
    assert machine.killed
    assert (seen.time_ns, seen.under_way, seen.arrived) == (world.now, {"n1": 8}, 0)
    world.sleep_until(world.now + 300 * MS)
    crash.end()
    world.sleep_until(world.now + 2_000 * MS)
    assert ear.words == ["connected", *arrives]
    assert crash.seen().arrived == sum(map(len, arrives))
    ear.connection.flows[0].send(b"is anybody there?", world.now)
    world.sleep_until(world.now + 100 * MS)
    assert ear.words[-1] == "broken", "the machine is on again, and knows nothing of the connection"
