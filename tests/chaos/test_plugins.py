"""What installed packages add by entry point: seen everywhere, and in nobody's way when it is broken."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import checkers
from cachequake import plugins
from cachequake.plugins import PluginError, Table
from chaos.claims import parse_claim, subjects
from chaos.deploy import doctor
from chaos.errors import BadInput
from chaos.extend import TABLES, additions
from chaos.report import words
from chaos.scenario import load_scenario
from chaos.schedules import draw, possible_kinds
from checkers import CHECKERS
from checkers.history import from_events
from nemeses import FAULTS
from nemeses.stream import Stream

FAULT = """
    from chaos.extend import Fault, Mix

    class Nothing(Fault):
        kind = {kind!r}
        mix = Mix(("n1",), (200, 300))

        def inject(self, strike):
            return {{}}

        def heal(self, strike):
            return {{}}
"""
CHECKER = """
    from chaos.extend import Anomaly, Collector, Meaning

    class Odd:
        kinds = {"odd-thing": Meaning("odd_things", "odd thing", "odd things", "is odd")}

        def __call__(self, history):
            found = Collector("odd")
            found.add(Anomaly("odd-thing", "it is odd", []))
            return found.finding({"checked": 1})
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution of one module: `install("name", {"group": ["entry = module:object"]}, "source")`."""

    def made(name, groups, source=""):
        site = tmp_path / name
        about = site / f"{name}-1.5.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        lines = [line for group, entries in groups.items() for line in (f"[cachequake.{group}]", *entries)]
        (about / "entry_points.txt").write_text("\n".join(lines))
        files = (f"{name}.py", f"{about.name}/METADATA", f"{about.name}/entry_points.txt")
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        (site / f"{name}.py").write_text(dedent(source))
        monkeypatch.syspath_prepend(site)
        plugins.declared.cache_clear()

    yield made
    monkeypatch.undo()
    plugins.declared.cache_clear()
    for table in TABLES:
        table.forget()


def numbers(**built_in):
    return Table("numbers", "number", built_in, lambda name, found: None if isinstance(found, int) else "it is no int")


def test_what_packages_add_comes_after_what_is_built_in(install):
    install("more", {"numbers": ["three = more:THREE", "two = more:TWO"]}, "TWO, THREE = 2, 3")
    table = numbers(one=1)
    assert dict(table) == {"one": 1, "three": 3, "two": 2}
    assert len(table) == 3
    assert "two" in table
    assert "four" not in table
    assert table.get("four") is None
    assert [(it.what, it.name, it.source, it.problem) for it in table.additions()] == [
        ("number", "three", "package more 1.5", None),
        ("number", "two", "package more 1.5", None),
    ]
    assert plugins.distributions()["more"] == "1.5"
    assert {"more-1.5.dist-info/METADATA", "more-1.5.dist-info/entry_points.txt"} <= {
        f"{path.parent.name}/{path.name}" for path in plugins.metadata_files() if path.is_file()
    }


def test_nothing_is_looked_for_while_names_are_built_in(install):
    install("unwanted", {"numbers": ["two = unwanted:TWO"]}, "raise RuntimeError('imported')")
    assert numbers(one=1)["one"] == 1
    assert plugins.declared.cache_info().misses == 0
    assert "unwanted" not in sys.modules


@pytest.mark.parametrize("module", ["chaos.controller", "chaos.drive", "chaos.cli"])
def test_who_only_records_imports_no_checker(module):
    script = f"import {module}, sys; print([name for name in ('numpy', 'checkers.registry') if name in sys.modules])"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=root).stdout == b"[]\n"


def test_the_pure_checkers_look_for_nothing_when_they_are_imported():
    script = "import checkers; from cachequake import plugins; print(plugins.declared.cache_info().misses)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=root).stdout == b"0\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_here", "could not be loaded: ModuleNotFoundError: .*; mend it, or uninstall"),
        ("raise SystemExit(3)", "could not be loaded: SystemExit: 3"),
        ("", "could not be loaded: AttributeError: .*'TWO'"),
        ("TWO = 'two'", "is no number: it is no int; docs/example-plugin/ has one of each"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named_when_it_is_wanted(install, source, said):
    name = f"broken{abs(hash(source))}"
    install(name, {"numbers": [f"two = {name}:TWO"]}, source)
    table = numbers(one=1)
    assert list(table) == ["one"]
    for _ in range(2):
        with pytest.raises(PluginError, match=rf"^number two of package {name} 1.5 \({name}:TWO, group .*\) {said}"):
            table["two"]
    assert [it.problem for it in table.additions()] == table.problems()


def test_of_two_packages_that_add_the_same_name_neither_is_used(install):
    install("first", {"numbers": ["two = first:TWO"]}, "TWO = 2")
    install("second", {"numbers": ["two = second:TWO"]}, "TWO = 22")
    table = numbers()
    assert list(table) == []
    message = r"several packages add a number two: package first 1.5 \(first:TWO\) and package second 1.5 .*uninstall"
    with pytest.raises(PluginError, match=message):
        table["two"]


def test_what_is_built_in_goes_before_a_package_that_takes_its_name(install):
    install("greedy", {"numbers": ["one = greedy:ONE"]}, "ONE = 11")
    table = numbers(one=1)
    assert dict(table) == {"one": 1}
    (problem,) = table.problems()
    assert problem.startswith("number one of package greedy 1.5 (greedy:ONE, group cachequake.numbers) is left out")


@pytest.mark.parametrize(
    ("group", "source", "said"),
    [
        ("workloads", "class THING:\n    name = 'thing'\n    defaults = {}", "it has no checkers, operation, finals"),
        ("workloads", "THING = 3", "it is no class"),
        ("faults", "THING = 3", "it has no kind, requires, default_target, options, checks, inject, heal"),
        (
            "faults",
            FAULT.format(kind="another") + "\n    THING = Nothing",
            "calls itself 'another', and its entry point",
        ),
        ("routes", "THING = 3", "it is no chaos.routes.Route"),
        (
            "routes",
            "from chaos.extend import Route\nTHING = Route('lost', {})",
            "it needs `place`, or an option `over`",
        ),
        ("topologies", "THING = 3", "it is no chaos.topologies.Kind"),
        (
            "deployments",
            "class THING:\n    def open(self): ...",
            "it has no refuse_impossible, prefix, environment, clean",
        ),
        ("checkers", "THING = 3", "3 cannot be called with a history"),
        ("checkers", "def THING(history): ...\nTHING.kinds = {'odd': 1}", "its `kinds` are not checkers.Meaning"),
    ],
)
def test_an_object_of_another_shape_is_refused_with_what_it_lacks(install, group, source, said):
    install(f"odd_{group}", {group: [f"thing = odd_{group}:THING"]}, source)
    sys.modules.pop(f"odd_{group}", None)
    (table,) = [table for table in TABLES if table.group == f"cachequake.{group}"]
    (problem,) = table.problems()
    assert said in problem
    assert f"package odd_{group} 1.5" in problem


def test_a_fault_of_a_package_is_in_scenarios_mixtures_and_the_pool_of_searches(install, tmp_path):
    install("calm", {"faults": ["nothing = calm:Nothing"]}, FAULT.format(kind="nothing"))
    file = tmp_path / "calm.quake.yaml"
    file.write_text("name: calm\nduration: 6s\nnemesis:\n  - {fault: nothing, at: 1s}\n  - {random: nothing}\n")
    scenario = load_scenario(file)
    assert scenario.nemesis[0].target == "a primary"
    kinds = possible_kinds(scenario)
    assert kinds[-1] == "nothing"
    (first, *_) = draw(scenario, ["nothing"], Stream(1))
    assert (first.target, 200 <= first.for_ms <= 300) == ("n1", True)


def test_a_broken_fault_is_an_error_of_the_scenarios_that_name_it_and_of_no_other(install, tmp_path):
    install("bent", {"faults": ["bend = bent:Bend"], "workloads": ["bow = bent:Bow"]}, "raise OSError('no such disk')")
    file = tmp_path / "bent.quake.yaml"
    file.write_text("name: bent\nnemesis:\n  - {fault: kill}\n")
    assert load_scenario(file).nemesis[0].fault == "kill"
    assert "bend" not in list(FAULTS)
    file.write_text("name: bent\nnemesis:\n  - {fault: bend}\n")
    with pytest.raises(BadInput, match=r"bent.quake.yaml:3: fault bend of package bent 1.5 .* OSError: no such disk"):
        load_scenario(file)
    file.write_text("name: bent\nworkload:\n  bow: {}\n")
    with pytest.raises(BadInput, match=r"bent.quake.yaml:3: workload bow of package bent 1.5 .* OSError: no such disk"):
        load_scenario(file)
    assert [row[:2] for row in doctor.additions()] == [("workload bow", False), ("fault bend", False)]


def test_a_checker_of_a_package_makes_findings_claims_and_words(install):
    install("oddity", {"checkers": ["odd = oddity:Odd"]}, CHECKER)
    assert checkers.check(from_events([]))["odd"].counts == {"odd-thing": 1}
    assert subjects()["odd_things"].kinds == ("odd-thing",)
    assert parse_claim("odd_things", 0).limit == "count"
    assert words.counted("odd-thing", 2) == "2 odd things"


def test_a_broken_checker_takes_no_part_and_an_unknown_claim_names_it(install):
    install("blind", {"checkers": ["look = blind:look"]}, "1 / 0")
    assert list(checkers.check(from_events([]))) == list(CHECKERS.built_in)
    with pytest.raises(ValueError, match=r"checker look of package blind 1.5"):
        checkers.check(from_events([]), ["look"])
    with pytest.raises(ValueError, match=r"unknown claim 'odd_things'.*; checker look of package blind 1.5.*division"):
        parse_claim("odd_things", 0)


def test_a_group_that_there_is_not_is_told(install):
    install("astray", {"fault": ["nothing = astray:Nothing"]})
    ((what, works, told),) = doctor.additions()
    assert (what, works) == ("entry point cachequake.fault: nothing", False)
    assert told.startswith("package astray 1.5 adds to no group that there is: cachequake.checkers, ")
    assert additions() == []
