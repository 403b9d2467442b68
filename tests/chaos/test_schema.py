"""The schema that editors validate scenario files with agrees with what validates them when they are run."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from chaos.cli import run_command
from chaos.errors import BadInput
from chaos.scenario import builtin_names, incident_names, load_scenario, read_scenario, validate
from chaos.schema import scenario_schema
from chaos.yaml_source import parse_yaml

VALIDATOR = jsonschema.Draft202012Validator(scenario_schema())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(scenario_schema())


@pytest.mark.parametrize("name", [*builtin_names(), *incident_names()])
def test_every_scenario_fits_as_it_is_written_and_with_every_default_filled_in(name):
    VALIDATOR.validate(read_scenario(name).data)
    VALIDATOR.validate(yaml.safe_load(load_scenario(name).to_yaml()))


@pytest.mark.parametrize(
    "wrong",
    [
        "duration: 3s",
        "name: a\nduration: 3",
        "name: a\nseed: -1",
        "name: a\ncolour: red",
        "name: a\ndeploy: cloud",
        "name: a\nclients: {count: 0}",
        "name: a\nclients: {rout: bare}",
        "name: a\nclients: {route: bare, ttl: 3s}",
        "name: a\nclients: {rate: 0}",
        "name: a\ncluster: {topology: ring}",
        "name: a\ncluster: {primaries: three}",
        "name: a\nworkload: {}",
        "name: a\nworkload: {registers: {}}",
        "name: a\nworkload: {register: {kees: 3}}",
        "name: a\nworkload: {register: {writes: 120%%}}",
        "name: a\nnemesis: [{fault: kil}]",
        "name: a\nnemesis: [{fault: kill, at: 3}]",
        "name: a\nnemesis: [{random: [kill], every: soon}]",
        "name: a\nclaims: {lost_writes: -1}",
        "name: a\nclaims: {stale_reads: {longest: 3s}}",
        "name: a\nclaims: {lost_rites: 0}",
    ],
)
def test_what_is_wrong_is_wrong_to_both(wrong):
    assert list(VALIDATOR.iter_errors(yaml.safe_load(wrong)))
    with pytest.raises(BadInput):
        validate(parse_yaml(wrong, "wrong.yaml"))


def test_the_command_prints_it(capsys):
    assert run_command(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == scenario_schema()
