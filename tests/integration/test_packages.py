"""What is released: the source distribution, the wheel, the Debian package, and the files for containers.

``./scripts/test`` builds the packages once and names their folder in ``TEST_PACKAGES``; alone, this module does.
``./scripts/package --try`` boots a Debian and installs, upgrades, removes and purges the package there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from oxd_protocol.catalog import COMMANDS
from oxd_server.config.declaring import declared_values
from oxd_server.config.keys import Config
from scripts.packaging.manual import SHELLS, completion, page_of_commands, page_of_configuration

ROOT = Path(__file__).parent.parent.parent
CONF = ROOT / "conf"
TOOLS = Path(sys.executable).parent
BUILD_SECONDS = 900
DOCUMENTS = [
    *("CHANGELOG.md", "README.md", "SECURITY.md", "constraints.txt", "docs/how-to/operating.md", "protocol/README.md"),
    *("conf/oxd-conf.json", "conf/oxd-default-site-config.json", "conf/systemd/oxd-server.service"),
    *("protocol/vectors/connections.json", "protocol/vectors/requests.json", "protocol/vectors/responses.json"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what ./scripts/package builds."""
    built = os.environ.get("TEST_PACKAGES")
    if built:
        return Path(built)
    folder = tmp_path_factory.mktemp("packages")
    only = ["--python"] if os.environ.get("OXD_TEST_SKIP_DEBIAN") == "1" else []
    subprocess.run([ROOT / "scripts" / "package", *only, folder], check=True, timeout=BUILD_SECONDS)
    return folder


def source_files() -> set[str]:
    """Return the files of both packages, as they lie in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "oxd_server", "protocol/oxd_protocol"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


def the_one(folder: Path, pattern: str) -> Path:
    """Return the file that a pattern stands for."""
    (found,) = folder.glob(pattern)
    return found


# --- Python's packages --------------------------------------------------------------------------


def test_the_source_distribution_is_complete(packages: Path) -> None:
    """It has every source file, the sample configuration, the pages, the protocol's page and its vectors."""
    with tarfile.open(the_one(packages, "oxd_server-*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert source_files() | {*DOCUMENTS, "LICENSE", "pyproject.toml", "setup.cfg"} <= names


def test_the_wheel_is_complete(packages: Path) -> None:
    """It has every source file and nothing else as code, and the documents under share/doc, laid out as here."""
    with zipfile.ZipFile(the_one(packages, "oxd_server-*.whl")) as archive:
        names = set(archive.namelist())
    code = {name.removeprefix("protocol/") for name in source_files()}
    assert {name for name in names if name.startswith(("oxd_server/", "oxd_protocol/"))} == code
    documents = {name.partition(".data/data/share/doc/oxd-server/")[2] for name in names}
    pages = {str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    assert {*DOCUMENTS, *pages} <= documents
    assert all(".dist-info/" in name or ".data/data/share/doc/" in name for name in names - code)


# --- the Debian package -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, unpacked; the Python that it depends on is this system's."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(["dpkg-deb", "--raw-extract", the_one(packages, "oxd-server_*.deb"), folder], check=True)
    (folder / "usr/bin/python3").symlink_to("/usr/bin/python3")
    return folder


@pytest.mark.debian
def test_the_debian_package_has_what_a_service_needs(packages: Path) -> None:
    """Units, manual, completions, documents and configuration, owned by root; secrets are not for everybody."""
    listed = subprocess.run(
        ["dpkg-deb", "--contents", the_one(packages, "oxd-server_*.deb")], capture_output=True, check=True, text=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        mode, owner, _, _, _, name = line.split(maxsplit=5)
        assert owner == "root/root", line
        found[name.removeprefix("./")] = mode
    files = {
        "etc/oxd/oxd-conf.json": "-rw-r-----",
        "etc/oxd/oxd-default-site-config.json": "-rw-r-----",
        "etc/oxd/credentials/": "drwx------",
        "lib/systemd/system/oxd-server.service": "-rw-r--r--",
        "lib/systemd/system/oxd-server.socket": "-rw-r--r--",
        "usr/bin/oxd-server -> ../lib/oxd-server/bin/oxd-server": "lrwxrwxrwx",
        "usr/share/bash-completion/completions/oxd-server": "-rw-r--r--",
        "usr/share/fish/vendor_completions.d/oxd-server.fish": "-rw-r--r--",
        "usr/share/man/man1/oxd-server.1.gz": "-rw-r--r--",
        "usr/share/man/man5/oxd-conf.json.5.gz": "-rw-r--r--",
        "usr/share/zsh/vendor-completions/_oxd-server": "-rw-r--r--",
        **{f"usr/share/doc/oxd-server/{name}": "-rw-r--r--" for name in DOCUMENTS},
    }
    assert {name: found.get(name) for name in files} == files
    assert not [name for name, mode in found.items() if "w" in mode[5:] and not mode.startswith("l")]


@pytest.mark.debian
def test_the_debian_package_says_what_it_is(installed: Path) -> None:
    """The configuration is Debian's to keep, the Python is the one it was built for, and no script is broken."""
    control = installed / "DEBIAN"
    assert set((control / "conffiles").read_text().split()) == {
        "/etc/oxd/oxd-conf.json",
        "/etc/oxd/oxd-default-site-config.json",
    }
    fields = (control / "control").read_text()
    assert re.search(r"^Depends: .*python3 \(>= 3\.\d+~\), python3 \(<< 3\.\d+~\)", fields, re.MULTILINE)
    for script in ("postinst", "postrm", "prerm"):
        subprocess.run(["sh", "-n", control / script], check=True)


@pytest.mark.debian
def test_the_server_of_the_debian_package_runs_where_it_lies(installed: Path) -> None:
    """It knows nothing of the folder that it was built in, imports its own code, and takes the packaged configuration.

    Its modules are compiled already, as the service cannot write them.
    """
    library = installed / "usr/lib/oxd-server"
    assert (library / "bin/oxd-server").read_text().startswith("#!/usr/lib/oxd-server/bin/python\n")
    place = "import oxd_server, oxd_protocol, coredis; print(oxd_server.__file__, oxd_server.__cached__)"
    ran = subprocess.run([library / "bin/python", "-c", place], cwd="/", capture_output=True, check=True, text=True)
    file, cached = map(Path, ran.stdout.split())
    assert file.is_relative_to(library)
    assert cached.is_file()
    check: list[str | Path] = [library / "bin/python", library / "bin/oxd-server", "check-config", "--show", "--config"]
    ran = subprocess.run(
        [*check, installed / "etc/oxd/oxd-conf.json"], cwd="/", capture_output=True, check=True, text=True
    )
    assert "/var/lib/oxd/oxd.sqlite" in ran.stdout


@pytest.mark.debian
def test_the_units_are_right() -> None:
    """systemd misses nothing in them but the program, which is not installed here, and finds the service confined."""
    units = [CONF / "systemd/oxd-server.service", CONF / "systemd/oxd-server.socket"]
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, check=False, text=True)
    assert {line for line in ran.stderr.splitlines() if "oxd-server" in line} <= {
        "oxd-server.service: Command /usr/bin/oxd-server is not executable: No such file or directory"
    }
    # The threshold is ten times the exposure, which goes from 0 to 10.
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=19"]
    ran = subprocess.run([*command, units[0]], capture_output=True, check=False, text=True)
    assert ran.returncode == 0, ran.stdout[-300:]


# --- manual and completions ---------------------------------------------------------------------


def test_the_manual_knows_every_command_and_every_key() -> None:
    """Both pages are made from what the server declares."""
    commands = page_of_commands().replace("\\-", "-")
    for name in ("serve", "check-config", "sites import", "backup", "restore", "keys new", "call", "sandbox"):
        assert re.search(rf"oxd-server {name}\b", commands), name
    keys = page_of_configuration().replace("\\-", "-")
    assert [value.name for value in declared_values(Config) if f"\\fB{value.name}\\fR" not in keys] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completions_know_every_command(shell: str) -> None:
    """Those of the command line, and those of the protocol, which `call` sends."""
    text = completion(shell)
    for name in ("check-config", "sandbox", *(command.name for command in COMMANDS)):
        assert name in text, name


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["oxd-server", "check"], ["check-config"]),
        (["oxd-server", "sites", "imp"], ["import"]),
        (["oxd-server", "call", "get_user"], ["get_user_info"]),
    ],
)
def test_bash_completes(typed: list[str], completed: list[str]) -> None:
    """A real shell with the completion loaded comes to the whole word."""
    words = " ".join(typed)
    script = (
        f"{completion('bash')}\nCOMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; COMP_LINE='{words}'\n"
        '_shtab_oxd_server; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(["bash", "-c", script, "bash"], capture_output=True, check=True, text=True)
    assert ran.stdout.split() == completed, ran.stderr


# --- containers ---------------------------------------------------------------------------------


def dockerfile() -> list[str]:
    """Return the instructions of the last stage, one a line."""
    text = (CONF / "docker/Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text[text.rindex("\nFROM ") :].splitlines() if line and not line.startswith("#")]


def test_the_dockerfile_is_right() -> None:
    """hadolint has nothing to say; the base is pinned, the user is not root, and the health is asked for."""
    ran = subprocess.run([TOOLS / "hadolint", CONF / "docker/Dockerfile"], capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
    lines = dockerfile()
    assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+", lines[0])
    assert "USER 10001:10001" in lines
    assert next(line for line in lines if line.startswith("HEALTHCHECK ")).endswith('CMD ["oxd-server", "health"]')


def test_the_dockerfile_copies_what_the_build_needs() -> None:
    """Everything that it copies is there, and let through; so is everything that setup.cfg names."""
    copied = {
        name
        for line in (CONF / "docker/Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    assert all(list(ROOT.glob(name)) for name in copied)
    ignore = (CONF / "docker/Dockerfile.dockerignore").read_text().split()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert copied == kept
    assert {name.partition("/")[0] for name in DOCUMENTS} <= {*copied, "CHANGELOG.md", "README.md", "SECURITY.md"}


def test_the_compose_file_confines_its_services() -> None:
    """Nothing can be written to but volumes, no service has a capability, and Redis is reached from inside only."""
    compose = yaml.safe_load((CONF / "docker/compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    redis = compose["services"]["redis"]
    assert redis["networks"] == ["inside"]
    assert "ports" not in redis
    assert compose["networks"]["inside"]["internal"] is True
    server = compose["services"]["oxd"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert (CONF / "docker" / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    assert_known_variables(server["environment"])


def assert_known_variables(environment: Any) -> None:
    """Every variable sets a key."""
    values = declared_values(Config)
    known = {value.variable for value in values} | {f"{value.variable}_FILE" for value in values if value.is_secret}
    assert set(environment) <= known


def manifests() -> list[dict[str, Any]]:
    """Return all resources that the kustomization names."""
    folder = CONF / "kubernetes"
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in folder.iterdir()} == {*names, "kustomization.yaml"}
    return [resource for name in names for resource in yaml.safe_load_all((folder / name).read_text())]


def test_the_kubernetes_manifests_are_valid() -> None:
    """Kubernetes's own schemas know every field."""
    files = [CONF / "kubernetes" / name for name in ("server.yaml", "redis.yaml")]
    ran = subprocess.run(
        [TOOLS / "kubernetes-validate", "--strict", *files], capture_output=True, check=False, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_kubernetes_manifests_confine_their_pods() -> None:
    """No pod runs as root, writes to its root or has a token; each is probed, and a drain leaves one server."""
    resources = {(one["kind"], one["metadata"]["name"]): one for one in manifests()}
    for kind, name in (("Deployment", "oxd"), ("StatefulSet", "redis")):
        pod = resources[kind, name]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["readinessProbe"]
        assert container["livenessProbe"]
        labels = resources[kind, name]["spec"]["template"]["metadata"]["labels"]
        assert resources["Service", name]["spec"]["selector"] == labels
    server = resources["Deployment", "oxd"]["spec"]
    (container,) = server["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health-check"
    assert_known_variables(one["name"] for one in container["env"])
    budget = resources["PodDisruptionBudget", "oxd"]["spec"]
    assert budget["selector"] == server["selector"]
    assert budget["minAvailable"] < server["replicas"]
