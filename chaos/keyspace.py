"""A key space of a run's own, on servers that hold data of others: every key of the run begins with one prefix.

Histories, plans and faults know the plain keys. The prefix is put in front where commands are made, and never changes
the slot of a key: one without a hash tag becomes the tag itself (`k0` is stored as `cq-RUN-{k0}`), and one that has a
tag keeps it (`{g0}:a` is stored as `cq-RUN-{g0}:a`). So whatever is said of slots holds for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.errors import RunFailed
from chaos.operation import Argument, Command, Operation

_FIRST = slice(1, 2)
KEYS: Mapping[str, slice] = {
    **dict.fromkeys(("GET", "SET", "GETDEL", "INCRBY", "DEL", "UNLINK", "EXISTS", "PEXPIRE", "PTTL"), _FIRST),
    **dict.fromkeys(("SADD", "SREM", "SMEMBERS", "RPUSH", "LPUSH", "LPOP", "RPOP", "LRANGE"), _FIRST),
    "MGET": slice(1, None),
    "MSET": slice(1, None, 2),
    **dict.fromkeys(("MULTI", "EXEC", "WAIT"), slice(0, 0)),
}
"""Where the keys are among the words of a command."""
SCRIPTS = frozenset({"EVAL", "EVAL_RO"})
"""Their keys are all texts behind the script: values are numbers, and a key that a script touches without declaring it
is given as a text, too."""


class KeySpace:
    """The keys of one run."""

    def __init__(self, prefix: str) -> None:
        """`prefix` is empty where a run has servers to itself. Raises ValueError for one that has a hash tag."""
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"a prefix with braces would decide the slot of every key: {prefix!r}")
        self.prefix = prefix

    @property
    def pattern(self) -> str:
        """Matches all keys of the run, and no other, in SCAN."""
        return f"{self.prefix}*"

    def stored(self, key: str) -> str:
        """The key as servers have it."""
        if not self.prefix:
            return key
        return f"{self.prefix}{key}" if "{" in key else f"{self.prefix}{{{key}}}"

    def plain(self, stored: str) -> str:
        """The inverse of `stored`, for a key with this prefix."""
        key = stored.removeprefix(self.prefix)
        whole = bool(self.prefix) and key.startswith("{") and key.find("}") == len(key) - 1
        return key[1:-1] if whole else key

    def operation(self, planned: Operation) -> Operation:
        """An operation on the keys as servers have them; what the history tells of it stays as it is.

        Raises RunFailed for a command of which it is not known where its keys are: it is not to be sent.
        """
        if not self.prefix:
            return planned
        return planned._replace(commands=tuple(map(self._command, planned.commands)))

    def _command(self, command: Command) -> Command:
        name = str(command[0])
        if name in SCRIPTS:
            return (*command[:3], *(self._word(word) for word in command[3:]))
        if name not in KEYS:
            raise RunFailed(f"{name} is not sent to servers that hold data of others: nobody knows where its keys are")
        words: list[Argument] = list(command)
        words[KEYS[name]] = [self._word(word) for word in words[KEYS[name]]]
        return tuple(words)

    def _word(self, word: Argument) -> Argument:
        return self.stored(word) if isinstance(word, str) else word


def commands_of(operations: Sequence[Operation]) -> set[str]:
    """The names of all commands in some operations."""
    return {str(command[0]) for operation in operations for command in operation.commands}
