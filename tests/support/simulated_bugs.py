"""What a simulated cluster can be told to do wrong."""

from __future__ import annotations

import enum


class Bug(enum.Enum):
    """Mistakes that real systems have made; each value is a sentence about what then happens."""

    REPLICA_READ = "a primary now and then answers a read with what its replica has"
    DEPOSED_PRIMARY = "a primary that handed over goes on answering those who still ask it"
    UNSYNCED_HANDOVER = "a graceful failover does not wait until the replica has everything"
    RESENT_WRITE = "a client sends a write again when no answer came, and the write is done twice"
    ADD_DROPPED = "an addition to a set is acknowledged and not done"
    TORN_WRITE = "an MSET is done one half now and one half later"
    TORN_MIGRATION = "an MGET of an open slot is answered with the keys that have not moved yet"
    CROSS_SLOT_ACCEPTED = "keys of several slots are accepted in one command"
    STRANDED_KEY = "a slot is handed over with one key left behind"
    ORPHANED_SLOT = "a slot is given away and nobody takes it"
    TWO_OWNERS = "a slot that was handed over is still served by who gave it away"
    REDIRECT_LOOP = "two nodes send the clients of a slot to each other"
    OUTDATED_MAP = "one node never hears of any change"
    REPLICA_MISSES_WRITE = "a replica skips a write of its primary and never notices"
    REFUSED_WRITE_APPLIED = "a write is refused with an error and done all the same"
    CORRUPTION = "a read returns a value that was never written"
    INCREMENT_LOST = "an increment is acknowledged and not done"
    INCREMENT_DOUBLED = "an increment is done twice"
    LIST_REORDERED = "a replica does appends in another order than its primary"
    STALE_AFTER_FAILBACK = "a node that is primary again answers reads from before it was deposed"
    SESSION_GOES_BACK = "half of the clients read from a primary and a replica far behind it by turns"
    TORN_TRANSACTION = "a transaction is done one half now and one half later"
    LOCK_GRANTED_TWICE = "a lock that is held is granted once more"
    DELIVERED_TWICE = "an element stays in its queue after it was delivered"
