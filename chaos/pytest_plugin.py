"""Scenarios as tests: the fixture `cachequake`, and `*.quake.yaml` files, which pass when their claims hold.

pytest loads this module in every session where the package is installed, so everything of ours is imported inside
the functions that need it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chaos.run_result import RunResult
    from chaos.scenario import Scenario

_SUFFIX = ".quake.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line and of the ini file."""
    group = parser.getgroup("cachequake", "chaos tests of Redis and Valkey")
    group.addoption("--quake-seed", type=int, metavar="N", help="seed of every run whose test does not give one")
    group.addoption("--quake-deploy", metavar="NAME", help="deployment of every run, for example local")
    group.addoption("--quake-server", metavar="PATH", help="server program to test")
    group.addoption("--quake-image", metavar="IMAGE", help="container image to test, with deployment docker")
    group.addoption(
        "--quake-allow-faults-on",
        metavar="HOST",
        action="append",
        default=[],
        help="faults may strike servers of this host, which somebody else runs (deployment endpoint)",
    )
    parser.addini("quake_runs", "directory of the runs, relative to the root directory", default="runs")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> QuakeFile | None:
    """A scenario file is a test."""
    return QuakeFile.from_parent(parent, path=file_path) if file_path.name.endswith(_SUFFIX) else None


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """One line that says which server will be tested, if any test of ours was collected."""
    if not any(_is_quake(item) for item in items):
        return []
    from chaos.deploy.servers import find
    from chaos.errors import ServerError

    if image := config.getoption("--quake-image"):
        return [f"cachequake: image {image}, runs in {_out(config)}"]
    try:
        return [f"cachequake: {find(config.getoption('--quake-server'))}, runs in {_out(config)}"]
    except ServerError as error:
        return [f"cachequake: {error}"]


def _is_quake(item: pytest.Item) -> bool:
    return isinstance(item, QuakeItem) or "cachequake" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test that used the fixture ends with the explanation of every run it made."""
    report = yield
    if report.when == "call" and report.failed:
        report.sections.extend((f"cachequake {done.result.run}", done.explain()) for done in item.stash.get(_runs, []))
    return report


_runs = pytest.StashKey[list["RunResult"]]()


@pytest.fixture
def cachequake(request: pytest.FixtureRequest) -> Cachequake:
    """Runs scenarios: `cachequake.run("primary-partition", seed=7)`."""
    return Cachequake(request.node)


@dataclass(frozen=True)
class Cachequake:
    """What the fixture gives: `run`."""

    _item: pytest.Item

    def run(self, scenario: str | Path, seed: int | None = None, **overrides: Any) -> RunResult:
        """Run a built-in scenario (by name) or a scenario file (relative to the test's own), and check it.

        `overrides` lay values over the scenario: `duration="5s"`, `clients={"count": 4}` (other options of the
        clients stay), or by dotted key `**{"cluster.config.cluster-node-timeout": "500ms"}`. The seed is `seed`, else
        `--quake-seed`, else the scenario's, else drawn.

        Raises BadInput for a scenario that is wrong and RunFailed for a run that could not be carried out.
        """
        from chaos.scenario import load_scenario

        config = self._item.config
        beside = self._item.path.parent / scenario
        changed = {**_flat(overrides), **_options(config)}
        found = load_scenario(beside if beside.is_file() else scenario, changed)
        done = _run(config, found, config.getoption("--quake-seed") if seed is None else seed)
        _remember(self._item, done)
        return done


def _flat(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by dotted key: a mapping goes over the scenario's key by key, one level deep."""
    flat: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": given for inner, given in value.items()}
        else:
            flat[key] = value
    return flat


def _options(config: pytest.Config) -> dict[str, Any]:
    deploy = config.getoption("--quake-deploy")
    return {} if deploy is None else {"deploy": deploy}


def _out(config: pytest.Config) -> Path:
    return config.rootpath / str(config.getini("quake_runs"))


def _run(config: pytest.Config, scenario: Scenario, seed: int | None) -> RunResult:
    """The one place where tests meet the runner."""
    from chaos.run import run_scenario
    from chaos.run_result import RunResult

    done = run_scenario(
        scenario,
        seed=seed,
        server=config.getoption("--quake-server"),
        image=config.getoption("--quake-image"),
        out=_out(config),
        allow_faults_on=config.getoption("--quake-allow-faults-on"),
    )
    return RunResult(done.run_dir, done.result)


def _remember(item: pytest.Item, done: RunResult) -> None:
    """Keep the run for a failure's explanation, and its seed and directory for `--junitxml`."""
    item.stash.setdefault(_runs, []).append(done)
    item.user_properties += [("quake_seed", done.seed), ("quake_run_dir", str(done.run_dir))]


class ClaimsNotKept(Exception):
    """The claims of a scenario file are broken or could not be decided; the message is the explanation."""


class QuakeFile(pytest.File):
    """A scenario file; it holds one test."""

    def collect(self) -> Iterable[QuakeItem]:
        """The scenario as a test. A scenario that is wrong is an error of collection, with its file and line."""
        from chaos.errors import BadInput
        from chaos.scenario import load_scenario

        try:
            scenario = load_scenario(self.path, _options(self.config))
        except BadInput as error:
            raise self.CollectError(str(error)) from error
        item: QuakeItem = QuakeItem.from_parent(self, name=scenario.name)
        item.scenario = scenario
        yield item


class QuakeItem(pytest.Item):
    """A scenario as a test: it passes when every claim holds, and fails when one is broken or undecided."""

    scenario: Scenario

    def runtest(self) -> None:
        """Run the scenario and judge its claims."""
        done = _run(self.config, self.scenario, self.config.getoption("--quake-seed"))
        self.user_properties += [("quake_seed", done.seed), ("quake_run_dir", str(done.run_dir))]
        if done.result.exit_code != 0:
            raise ClaimsNotKept(done.explain())

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The explanation and nothing else; a traceback only for what is no message of ours."""
        from chaos.errors import CachequakeError

        if isinstance(excinfo.value, ClaimsNotKept | CachequakeError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the test is and what it is called."""
        return self.path, 0, f"scenario {self.name}"
