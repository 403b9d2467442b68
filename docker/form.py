"""Make a cluster of the nodes of compose.yaml: three primaries that share the slots, and a replica of each.

    python docker/form.py

`redis-cli --cluster create` does the same where there is one; the images that cachequake builds have none.
"""

from __future__ import annotations

import time

from redis import Redis
from redis.exceptions import ResponseError

HOSTS = [f"10.176.0.{10 + number}" for number in range(1, 7)]
PRIMARIES = 3
SLOTS = 16384
PATIENCE_S = 20


def main() -> None:
    """Epochs and slots first, for a node that knows another refuses them; then MEET, then REPLICATE."""
    nodes = [Redis(host, 6379) for host in HOSTS]
    for number, node in enumerate(nodes):
        node.cluster("SET-CONFIG-EPOCH", number + 1)
        if number < PRIMARIES:
            first, after = SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES
            node.cluster("ADDSLOTSRANGE", first, after - 1)
    for number, node in enumerate(nodes):
        for host in HOSTS[number + 1 :]:
            node.cluster("MEET", host, 6379)
    deadline = time.monotonic() + PATIENCE_S
    for replica, primary in zip(nodes[PRIMARIES:], nodes, strict=False):
        replicate(replica, primary.cluster("MYID"), deadline)
    while any(node.cluster("INFO")["cluster_state"] != "ok" for node in nodes):
        wait("the cluster did not come up", deadline)
    print(f"the cluster serves at {', '.join(HOSTS)}, port 6379")


def replicate(replica: Redis, primary: bytes, deadline: float) -> None:
    """Retried until the replica has heard of the primary."""
    while True:
        try:
            replica.cluster("REPLICATE", primary)
        except ResponseError as error:
            wait(f"a replica refuses its primary: {error}", deadline)
        else:
            return


def wait(reason: str, deadline: float) -> None:
    """A moment, or give up."""
    if time.monotonic() > deadline:
        raise SystemExit(reason)
    time.sleep(0.05)


if __name__ == "__main__":
    main()
