"""What --json gives against the schemas in docs/schema: stable names for scripts. Fields are only ever added."""
import json
import os
import pathlib

import pytest
from shunt.clients import ask, connect
from shunt.config import service, steps
from shunt.peers import echo
from shunt.waiting import wait_until

jsonschema = pytest.importorskip("jsonschema")
DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
GATE = {"window": "5s", "min_samples": 5, "max_error_rate": "50%", "max_latency_ratio": 3.0}


def schema_of(name):
    path = DOCS / "status.schema.json" if name == "status" else DOCS / "schema" / f"{name}.schema.json"
    schema = json.loads(path.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return schema


def infer(values):
    """A schema that these values meet: for a new command, to be looked at and kept."""
    kinds = sorted({{bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object",
                     list: "array"}[type(value)] for value in values})
    if kinds == ["integer", "number"]:
        kinds = ["number"]
    schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        names = sorted({name for one in objects for name in one})
        schema["properties"] = {name: infer([one[name] for one in objects if name in one]) for name in names}
        schema["required"] = [name for name in names if all(name in one for one in objects)]
        schema["additionalProperties"] = False
    items = [item for value in values if isinstance(value, list) for item in value]
    if items:
        schema["items"] = infer(items)
    return schema


COMMANDS = {"status": "status", "events": "events 50", "connections": "connections", "count": "connections --count-by group",
            "top": "top --step 1s", "plan": "plan web", "report": "report web", "version": "show version",
            "confinement": "show confinement", "settings": "show settings", "help": "help"}


def stories(shunt):
    """The states of a migration, one after the other."""
    yield "idle"
    shunt.ctl("start", "web", "reason", "CHG-1").ok()
    for _ in range(30):
        ask(shunt.port(), b"hello\n")
    yield "ramping"
    shunt.ctl("pause", "web").ok()
    yield "paused"
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    yield "rolled-back"
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    shunt.ctl("skip", "web").ok()
    shunt.wait_phase("completed")
    yield "completed"


def test_all_commands_in_all_states(daemon, server):
    shunt = daemon(service([server(echo).address], [server(echo).address], migration={
        **steps(("50%", "1h"), ("100%", "1h")), "gate": GATE, "drain": {"timeout": "1s"}}))
    seen = {name: [] for name in COMMANDS}
    wait_until(lambda: json.loads(shunt.ctl("top", "--json").ok())["rows"], "the first second is over")
    for state in stories(shunt):
        with connect(shunt.port()):
            for name, line in COMMANDS.items():
                reply = shunt.ctl(*line.split(), "--json")
                if name in ("report", "plan") and reply.code == 1:
                    continue  # nothing has run yet; nothing can be planned now
                value = json.loads(reply.ok())
                seen[name].append(value)
                if os.environ.get("SHUNT_WRITE_SCHEMAS") is None:
                    jsonschema.validate(value, schema_of(name))
        assert state
    assert all(seen.values()), {name: len(values) for name, values in seen.items()}
    if os.environ.get("SHUNT_WRITE_SCHEMAS") is not None:
        for name, values in seen.items():
            path = DOCS / "schema" / f"{name}.schema.json"
            if name not in ("status", "settings"):
                path.write_text(json.dumps({"$schema": "http://json-schema.org/draft-07/schema#",
                                            "title": f"{COMMANDS[name]} --json", **infer(values)}, indent=2) + "\n")
