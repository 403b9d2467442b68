"""Tables that other distributions can add to, by entry point: workloads, faults, routes, topologies and so on.

A distribution names what it adds in its `pyproject.toml`, in the group of the table:

    [project.entry-points."cachequake.faults"]
    client-kill = "my_package.client_kill:FAULT"

Nothing is looked for before a name is wanted that is not built in, or all names are. A package that cannot be loaded is
in nobody's way: its names are left out where all are listed, and using one of them raises PluginError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

T = TypeVar("T")
PREFIX = "cachequake."
"""What the names of all groups begin with."""
HELP = "docs/example-plugin/ has one of each"


class PluginError(ValueError):
    """An installed package was to add this name, and cannot. Mend, upgrade or uninstall the package that is named."""


class Addition(NamedTuple):
    """One thing that an installed distribution adds, or would add."""

    what: str
    """For example `fault`."""
    name: str
    source: str
    """The distribution, with its version."""
    problem: str | None
    """Why it cannot be used, with what to do about it."""


@cache
def declared() -> Mapping[str, list[EntryPoint]]:
    """The entry points of all installed distributions by group, of the groups that begin with `PREFIX`."""
    import importlib.metadata  # only here: it takes 20 ms, which an import of `checkers` need not

    found: dict[str, list[EntryPoint]] = {}
    seen = set()
    for distribution in importlib.metadata.distributions():
        if f"[{PREFIX}" not in (distribution.read_text("entry_points.txt") or "") or distribution.name in seen:
            continue  # the first on the path is the one that is imported
        seen.add(distribution.name)
        for entry in distribution.entry_points:
            if entry.group.startswith(PREFIX):
                found.setdefault(entry.group, []).append(entry)
    return found


def distributions() -> dict[str, str]:
    """Versions of the distributions that add anything, by name."""
    return {name: distribution.version for name, distribution in sorted(_adding().items())}


def _adding() -> dict[str, Distribution]:
    return {entry.dist.name: entry.dist for entries in declared().values() for entry in entries if entry.dist}


def strays(groups: Iterable[str]) -> dict[str, str]:
    """Entry points of groups that begin with `PREFIX` and are none of these, each with what to do about it."""
    known = sorted(groups)
    return {
        f"{group}: {entry.name}": f"{_source(entry)} adds to no group that there is: {', '.join(known)}"
        for group, entries in declared().items()
        for entry in entries
        if group not in known
    }


def metadata_files() -> list[Path]:
    """What installed distributions that add anything are known by: where it says so, and their names."""
    return [
        Path(str(dist.locate_file(file)))
        for dist in _adding().values()
        for file in dist.files or ()
        if file.name in ("entry_points.txt", "METADATA")
    ]


def lacks(found: object, names: Iterable[str]) -> str | None:
    """Which of these attributes an object has not, as a reason; None when it has them all."""
    missing = [name for name in names if not hasattr(found, name)]
    return f"it has no {', '.join(missing)}" if missing else None


def misnamed(name: str, own: object) -> str | None:
    """Why a thing that calls itself something cannot go by `name`; None when it calls itself so."""
    return None if own == name else f"it calls itself {own!r}, and its entry point is called {name!r}"


class Table(Mapping[str, T], Generic[T]):
    """What there is of a kind, by name: what is built in first, then what other distributions add.

    Looking for a name that a distribution should have added and cannot raises PluginError.
    """

    def __init__(
        self,
        group: str,
        what: str,
        built_in: dict[str, T],
        unfit: Callable[[str, Any], str | None],
        *,
        instances: bool = False,
    ) -> None:
        """`group` comes after `PREFIX`. `unfit` says of a name, and what was loaded, why it is no `what`.

        With `instances` a class that an entry point names is called, without arguments, for what it stands for.
        """
        self.group = PREFIX + group
        self.what = what
        self.built_in = built_in
        self._unfit = unfit
        self._instances = instances
        self._loaded: dict[str, T] = {}
        self._broken: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._loaded and name not in self._broken:
            self._load(name)
        if name in self._broken:
            raise PluginError(self._broken[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        for name in self._added():
            if name not in self.built_in and self._problem(name) is None:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def additions(self) -> list[Addition]:
        """Everything that installed distributions would add, whether or not it can be used."""
        found = []
        for name, entries in self._added().items():
            for entry in entries:
                problem = self._clash(name, entry) if name in self.built_in else self._problem(name)
                found.append(Addition(self.what, name, _source(entry), problem))
        return found

    def problems(self) -> list[str]:
        """Why each addition that cannot be used cannot, with what to do about it."""
        return list(dict.fromkeys(addition.problem for addition in self.additions() if addition.problem))

    def forget(self) -> None:
        """Load everything anew that is wanted from now on: other distributions may be installed."""
        self._loaded.clear()
        self._broken.clear()

    def _added(self) -> dict[str, list[EntryPoint]]:
        added: dict[str, list[EntryPoint]] = {}
        for entry in sorted(declared().get(self.group, ()), key=lambda entry: (entry.name, _source(entry))):
            added.setdefault(entry.name, []).append(entry)
        return added

    def _problem(self, name: str) -> str | None:
        try:
            self[name]
        except PluginError as error:
            return str(error)
        return None

    def _load(self, name: str) -> None:
        """Load what a name stands for, or find out why that cannot be. Raises KeyError for a name that nobody adds."""
        entry, *others = self._added()[name]
        if others:
            both = " and ".join(f"{_source(each)} ({each.value})" for each in (entry, *others))
            self._broken[name] = f"several packages add a {self.what} {name}: {both}; uninstall all but one"
            return
        try:
            found = entry.load()
            found = found() if self._instances and isinstance(found, type) else found
            reason = self._unfit(name, found)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module raises, it is to blame
            self._broken[name] = (
                f"{self._told(entry)} could not be loaded: {type(error).__name__}: {error}; "
                f"mend it, or uninstall the package"
            )
            return
        if reason is not None:
            self._broken[name] = f"{self._told(entry)} is no {self.what}: {reason}; {HELP}"
        else:
            self._loaded[name] = found

    def _clash(self, name: str, entry: EntryPoint) -> str:
        return f"{self._told(entry)} is left out, for cachequake has its own of that name; the package must rename it"

    def _told(self, entry: EntryPoint) -> str:
        return f"{self.what} {entry.name} of {_source(entry)} ({entry.value}, group {self.group})"


def _source(entry: EntryPoint) -> str:
    return "an unknown package" if entry.dist is None else f"package {entry.dist.name} {entry.dist.version}"
