"""The container image's steps and the compose file, as far as they run without an engine."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import command
from tests.support.engines import free_port
from tests.support.namespace import namespace
from tests.support.operating import scrape
from tests.support.server import ServerProcess, environment, run_command

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"


def shell(script: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=cwd,
        env=environment() | variables,
    )


def steps() -> list[list[tuple[str, str]]]:
    """The instructions of the image, by stage."""
    text = (DEPLOY / "Containerfile").read_text()
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    stages: list[list[tuple[str, str]]] = []
    for name, rest in lines:
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest))
    return stages


def answer_of(words: list[str], variables: dict[str, str]) -> int:
    """The exit status of a command in the image's environment."""
    done = subprocess.run(
        words, env=environment() | variables, timeout=30, check=False, capture_output=True
    )
    return done.returncode


@pytest.mark.timeout(400)
async def test_the_images_steps_make_a_server_that_is_healthy(tmp_path: Path) -> None:
    """With the folders of the image in a temporary one, on this machine's Python."""
    build, image = steps()
    source, made = tmp_path / "src", tmp_path / "miss"
    source.mkdir()
    for name, rest in build:
        if name == "COPY":
            *files, to = rest.split()
            for file in files:
                here, there = ROOT / file, source / to
                if here.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(here, there, dirs_exist_ok=True, ignore=ignored)
                else:
                    shutil.copy(here, there)
        elif name == "RUN":
            step = rest.replace("/opt/miss", str(made))
            # Debian's Python has no pip to put into an environment; the image's has.
            step = step.replace("python -m venv", f"{sys.executable} -m venv --without-pip")
            step = step.replace(
                f"{made}/bin/python -m pip", f"python3 -m pip --python {made}/bin/python"
            )
            # To compile it all takes longer than all else here, and nothing of it is looked at.
            step = step.replace("bin/python install ", "bin/python install --no-compile ")
            shell(step, source)
    assert (made / "bin" / "miss-server").exists()
    variables: dict[str, str] = {}
    for name, rest in image:
        if name == "ENV":
            variables |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    variables["PATH"] = f"{made}/bin:{os.environ['PATH']}"
    [check] = [rest for name, rest in image if name == "HEALTHCHECK"]
    [entry] = [json.loads(rest) for name, rest in image if name == "ENTRYPOINT"]
    [order] = [json.loads(rest) for name, rest in image if name == "CMD"]
    data = tmp_path / "data"
    data.mkdir()

    class Image(ServerProcess):
        async def launch(self, words: object) -> object:  # type: ignore[override]
            with self.log.open("ab") as log:
                return await asyncio.create_subprocess_exec(
                    *entry, *order, stdout=log, stderr=log, cwd=data,
                    env=environment() | variables | {"MISS_PORT": "0", "MISS_HOST": "127.0.0.1"},
                )  # fmt: skip

    server = Image(data / "miss.sqlite", tmp_path / "server.log")
    await server.start()
    asked = json.loads(check[check.index("CMD") + 4 :])
    asked = [word.replace("127.0.0.1:8440", f"127.0.0.1:{server.port}") for word in asked]
    assert await asyncio.to_thread(answer_of, asked, variables) == 0
    assert await server.stop() == 0
    assert await asyncio.to_thread(answer_of, asked, variables) != 0
    # What would be written elsewhere than in /data fails under a read-only root.
    assert {path.name.partition(".")[0] for path in data.iterdir()} == {"miss"}
    users = [rest for name, rest in image if name == "USER"]
    assert users == ["10001:10001"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`deploy/` as it is after the first steps of the README."""
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("secrets", ".env"))
    shell("sh secrets.sh", copy)
    (copy / "secrets" / "proxy" / "tls.pem").write_text("")
    return copy


def compose(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker-compose", "-f", "compose.yaml", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env=environment() | variables,
    )


def test_the_compose_file_is_valid_and_asks_for_the_domain(folder: Path) -> None:
    done = compose(folder, "config", MISS_DOMAIN="miss.example")
    assert done.returncode == 0, done.stderr
    for service in ("node-1", "node-2", "proxy", "database", "doorbell"):
        assert f"\n  {service}:\n" in done.stdout
    refused = compose(folder, "config")
    assert refused.returncode != 0
    assert "set it in .env" in refused.stderr


def test_secrets_are_made_once_and_agree(folder: Path) -> None:
    secrets = folder / "secrets"
    before = texts(secrets)
    again = shell("umask 077; echo new > secrets/nodes/miss_smtp_password; sh secrets.sh", folder)
    assert again.stdout == ""
    assert texts(secrets) == before | {"nodes/miss_smtp_password": "new\n"}
    assert len(before["nodes/miss_database_password"]) == 64
    assert f":{before['redis_password']}@doorbell:6379" in before["nodes/miss_redis"]
    assert f"requirepass {before['redis_password']}\n" in before["valkey.conf"]
    assert secrets.stat().st_mode & 0o077 == 0
    # Within it whoever runs in a container can read what is handed to it.
    for path in secrets.rglob("*"):
        assert path.stat().st_mode & (0o555 if path.is_dir() else 0o444) in (0o555, 0o444), path
    handed = re.findall(r"(?:file: |- \./|\"\./)(secrets/[^:}]+)", COMPOSE.read_text())
    assert all((folder / each).exists() for each in handed), handed


def texts(folder: Path) -> dict[str, str]:
    """What is in the files of a folder and those in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_nodes_in_containers_have_the_settings_and_secrets_of_their_folder(folder: Path) -> None:
    """The identity provider, a mail server, a charter: without a change of the compose file."""
    given = folder / "secrets" / "nodes"
    (given / "charter.txt").write_text("La charte")
    (given / "miss_provider_client_secret").write_text("fictive")
    (given / "miss.conf").write_text(
        "MISS_PUBLIC_URL=https://other.example\n"
        "MISS_SMTP=smtp://mail.example\n"
        f"MISS_CHARTER_FR={given}/charter.txt\n"
        'MISS_NEW_RECIPIENTS_BY_ROLE={"86": [40, 120]}\n'
        "MISS_DATABASE=elsewhere.sqlite\n"
    )
    for name in ("node-1", "node-2"):
        node = composed("services")[name]
        assert "./secrets/nodes:/etc/miss:ro" in node["volumes"]
        settings = {
            key: value.replace("/etc/miss", str(given))
            for key, value in node["environment"].items()
        } | {"MISS_DOMAIN": "miss.example"}
        done = run_command("miss_server", "config", "check", settings=settings)
        assert done.returncode == 0, done.stderr
        assert "MISS_PUBLIC_URL=https://other.example " in done.stdout
        assert "MISS_DATABASE=postgresql://miss@database:5432/miss " in done.stdout
        assert "MISS_PROVIDER_CLIENT_SECRET=****" in done.stdout
        assert "MISS_DATABASE_PASSWORD=****" in done.stdout
        assert "(40, 120)" in done.stdout


def composed(part: str) -> dict[str, Any]:
    """A part of the compose file, what is common filled in."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())[part]
    return found


def test_nodes_are_looked_after_by_engines_that_drop_the_images_check() -> None:
    _, image = steps()
    [check] = [rest for name, rest in image if name == "HEALTHCHECK"]
    options, _, command = check.partition(" CMD ")
    for name in ("node-1", "node-2"):
        ours = composed("services")[name]["healthcheck"]
        assert ours["test"] == ["CMD", *json.loads(command)]
        said = dict(pair.removeprefix("--").split("=") for pair in options.split())
        assert {word.replace("-", "_"): value for word, value in said.items()} == {
            word: ours[word] for word in ("interval", "timeout", "start_period")
        }


def test_prometheus_scrapes_what_is_published_and_the_world_only_reaches_the_proxy() -> None:
    published = {name: service.get("ports") for name, service in composed("services").items()}
    assert published.pop("proxy") == ["443:8443"]
    reached = []
    for name in ("node-1", "node-2"):
        [port] = published.pop(name)
        host, outside, inside = port.split(":")
        assert host == "127.0.0.1"
        assert inside == composed("services")[name]["environment"]["MISS_METRICS_PORT"]
        reached.append(f"{host}:{outside}")
    assert not any(published.values())
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [job] = document["scrape_configs"]
    [targets] = [each["targets"] for each in job["static_configs"]]
    assert targets == reached


async def test_who_reads_the_metrics_of_a_node_in_a_container(tmp_path: Path) -> None:
    settings = composed("services")["node-1"]["environment"]
    own = {name: value for name, value in settings.items() if name.startswith("MISS_METRICS_")}
    own |= {"MISS_METRICS_PORT": str(free_port()), "MISS_HOST": "0.0.0.0"}  # noqa: S104
    server = ServerProcess(tmp_path / "miss.sqlite", tmp_path / "server.log", settings=own)
    await server.start()
    try:
        await who_reads(server, own["MISS_METRICS_PORT"])
    finally:
        ended = await server.stop()
    assert ended == 0


async def who_reads(server: ServerProcess, port: str) -> None:
    """Ask from the node itself, from a stranger's network, and as compose's gateway."""
    common = server.port
    server.url = f"http://127.0.0.1:{port}"
    assert await scrape(server), "the node itself, as doctor does"
    front = ip_network(composed("networks")["front"]["ipam"]["config"][0]["subnet"])
    async with namespace() as outside:
        read = (*outside.under, sys.executable, "-c", READ)
        for at in (port, str(common)):
            assert await command(*read, f"http://{outside.gateway}:{at}/metrics") == "404\n"
        # As the gateway of compose's network, by which this machine comes to the published port.
        gateway, node = (str(front[number]) for number in (1, 2))
        await outside.further(f"{node}/24", f"{gateway}/24")
        assert await command(*read, f"http://{node}:{port}/metrics") == "200\n"
        assert await command(*read, f"http://{node}:{common}/metrics") == "404\n"


READ = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
