"""Check docker-compose.yml: the Compose schema, our settings, and the rules that keep passwords and containers in.

Where Docker's Compose plugin is installed, it has the last word.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from config.settings import SettingsInvalid, load_settings

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "deploy" / "schema" / "compose-spec.json"
SCHEMA_SHA256 = "56bab44c85c0ce8affb74474950293f37d510673283a243bcd7eeadb900fa35c"
PASSWORDS = {"REX_PASSWORD": "checkedpassword1", "FLOWER_PASSWORD": "checkedpassword2"}


def problems_of(document: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a parsed compose file."""
    found = list(_against_schema(document))
    for name, service in document.get("services", {}).items():
        found += [f"services.{name}: {problem}" for problem in _rules(service)]
    return found


def _against_schema(document: dict[str, Any]) -> Iterator[str]:
    content = SCHEMA.read_bytes()
    if hashlib.sha256(content).hexdigest() != SCHEMA_SHA256:
        yield f"{SCHEMA}: is not the file that deploy/schema/README.md describes"
    for error in jsonschema.Draft201909Validator(json.loads(content)).iter_errors(document):
        yield f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


def _rules(service: dict[str, Any]) -> Iterator[str]:
    for key in ("healthcheck", "restart", "command"):
        if key not in service:
            yield f"has no {key}"
    if service.get("read_only") is not True:
        yield "its root file system can be written"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "may gain privileges"
    if service.get("cap_drop") != ["ALL"]:
        yield "keeps capabilities"
    shown = json.dumps([service.get("command"), service.get("healthcheck")])
    if re.search(r"(?<!\$)\$\{?\w*(PASSWORD|BROKER_URL)", shown):
        yield "a password would stand in its arguments"
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"port {port} is open to the network"
    try:
        load_settings(environ={"HOME": "/", **interpolated(service.get("environment", {}))})
    except SettingsInvalid as error:
        yield from error.problems


def interpolated(environment: dict[str, str]) -> dict[str, str]:
    """`environment` as Compose would pass it on, with passwords of our own."""
    values = {}
    for key, value in environment.items():
        text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: PASSWORDS[found[1]], str(value))
        values[key] = text.replace("$$", "$")
    return values


def _asked_of_docker() -> list[str]:
    plugin = ["docker", "compose"]
    try:
        present = subprocess.run([*plugin, "version"], capture_output=True, timeout=60, check=False).returncode == 0
    except FileNotFoundError:
        present = False
    if not present:
        return []
    run = subprocess.run(
        [*plugin, "config", "--quiet"],
        cwd=ROOT,
        env={**os.environ, **PASSWORDS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [f"docker compose config: {run.stderr.strip()}"] if run.returncode else []


def main() -> int:
    file = ROOT / "docker-compose.yml"
    problems = problems_of(yaml.safe_load(file.read_text())) + _asked_of_docker()
    for problem in problems:
        sys.stderr.write(f"{file.name}: {problem}\n")
    if not problems:
        sys.stdout.write(f"{file.name}: ok\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
