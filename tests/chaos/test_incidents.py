"""The gallery of published failures: every file says what it shows, and a run's result tells whether it did."""

import msgspec
import pytest

from chaos.cli import run_command
from chaos.errors import BadInput
from chaos.incidents import Incident
from chaos.plan import Plan, make_plan
from chaos.result import Result, Server
from chaos.scenario import builtin_names, incident_names, load_scenario, read_summary, validate
from chaos.yaml_source import parse_yaml
from checkers.finding import Finding, Verdict


@pytest.mark.parametrize("name", incident_names())
def test_every_incident_says_what_it_shows_and_survives_being_written(name):
    made = load_scenario(name)
    assert f"incidents/{made.name}" == name
    assert made.name not in builtin_names()
    assert made.incident is not None
    assert made.claims
    assert len(read_summary(name)) > 40
    assert validate(parse_yaml(made.to_yaml(), "again")) == made
    encoded = msgspec.json.encode(make_plan(made, 7))
    assert encoded == msgspec.json.encode(make_plan(load_scenario(name), 7))
    assert msgspec.json.decode(encoded, type=Plan).scenario.incident == made.incident


def test_incidents_are_listed_apart_and_with_what_reported_them(capsys):
    assert run_command(["list"]) == 0
    before, gallery = capsys.readouterr().out.split("Published failures")
    assert "steady" in before
    assert "redis/redis#6062" in gallery.replace("\n", "")
    assert all(name in gallery for name in incident_names())


def test_an_incident_that_is_misspelt_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'incidents/empty-restart'"):
        load_scenario("incidents/empty-restrat")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("incident: redis/redis#1", 2, "a mapping with"),
        ("incident: {servers: [redis], expect: [lost-write], reportet: []}", 2, "did you mean 'reported'"),
        ("incident: {servers: [redis]}", 2, "expect is missing"),
        ("incident:\n  servers: [redis]\n  expect: [lost-writes]", 4, "kinds of anomalies"),
        ("incident:\n  servers: [memcached]\n  expect: [lost-write]", 3, "`redis` or `valkey 9.1`"),
        ("incident:\n  reported: [6062]\n  servers: [redis]\n  expect: [lost-write]", 3, "redis/redis#6062"),
    ],
)
def test_a_wrong_incident_names_line_and_form(text, line, message):
    with pytest.raises(BadInput) as refused:
        validate(parse_yaml(f"name: x\n{text}", "x.quake.yaml"))
    assert message in str(refused.value)
    assert refused.value.line == line


def test_links_lead_to_the_issue():
    incident = Incident(["redis/redis-py#261"], ["redis"], ["duplicate-write"])
    assert incident.links == ["https://github.com/redis/redis-py/issues/261"]


@pytest.mark.parametrize(
    ("known", "server", "concerned"),
    [
        ("redis", "redis 7.0.15", True),
        ("redis 7.0", "redis 7.0.15", True),
        ("redis 7", "redis 7.0.15", True),
        ("valkey 9.1.2", "valkey 9.1.2", True),
        ("redis 7.1", "redis 7.10.1", False),
        ("redis", "valkey 9.1.2", False),
    ],
)
def test_a_server_has_it_by_name_and_by_beginning_of_its_version(known, server, concerned):
    assert Incident([], [known], ["lost-write"]).concerns(server) is concerned


def result(**findings):
    return Result(
        run="x",
        scenario="x",
        seed=1,
        server=Server("redis", "7.0.15"),
        deployment="local",
        verdict=Verdict.INVALID,
        claims_verdict="none",
        operations={},
        findings={name: Finding(name, Verdict.INVALID, None, *parts) for name, parts in findings.items()},
        claims=[],
        reproduce="",
    )


def test_a_table_counts_as_a_whole_or_by_the_beginning_of_its_rows():
    errors = result(availability=({}, {"errors": {"MOVED": 0, "No. 5": 2}}))
    for expected, shown in (("", True), (".No. 5", True), (".MOVED", False), (".ASK", False)):
        assert Incident([], ["redis"], [f"availability.errors{expected}"]).shown(errors) is shown


def test_an_incident_is_shown_when_everything_expected_was_found():
    incident = Incident([], ["redis"], ["lost-write", "availability.errors.NOREPLICAS", "durability.lost_though"])
    durability = {"lost-write": 3}, {"lost_though": 3}
    shown = result(durability=durability, availability=({}, {"errors": {"NOREPLICAS": 4, "other": 1}}))
    assert incident.shown(shown)
    for lacking in (
        result(durability=durability, availability=({}, {"errors": {"other": 1}})),
        result(durability=({}, {"lost_though": 3}), availability=({}, {"errors": {"NOREPLICAS": 4}})),
        result(durability=({"lost-write": 3}, {"lost_though": 0}), availability=({}, {"errors": {"NOREPLICAS": 4}})),
        result(durability=durability),
    ):
        assert not incident.shown(lacking)
