"""The conformance runner, on client programs that are right and on programs with one fault each."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import oxd_protocol
import oxd_server
from oxd_protocol.catalog import COMMANDS
from oxd_protocol.check.command_line import main
from oxd_protocol.check.runner import Verdict, check
from oxd_protocol.check.scenarios import SCENARIOS, answer_data
from oxd_protocol.check.scripted_server import running
from oxd_protocol.check.sent import SENT_RULES, broken_rules
from oxd_protocol.client.blocking import BlockingClient

ROOT = Path(__file__).parents[3]
SECONDS = 5

# A client as a stranger writes one, importing so little that Python starts at once. `<frame>` is replaced.
PROGRAM = """
import os, socket, sys
body = b'{"command": "get_user_info", "params": {"oxd_id": "x", "access_token": "y"}}'
with socket.create_connection(("127.0.0.1", int(os.environ["OXD_PORT"]))) as s:
    s.sendall(<frame>)
    answer = s.recv(4)
    while len(answer) < 4 or len(answer) < 4 + int(answer[:4]):
        more = s.recv(10000)
        if not more:
            sys.exit(1)
        answer += more
print(answer[4:].decode())
sys.exit(b'"status": "ok"' not in answer)
"""
FRAME = 'b"%04d%s" % (len(body), body)'


def program(folder: Path, *changes: tuple[str, str]) -> list[str]:
    """Write the client with these changes; return the command that runs it."""
    text = PROGRAM
    for old, new in (*changes, ("<frame>", FRAME)):
        text = text.replace(old, new)
    (folder / "client.py").write_text(text)
    return [sys.executable, "-I", "-S", str(folder / "client.py")]


def broken(verdicts: list[Verdict]) -> set[str]:
    """Return the names of the rules that were broken."""
    return {verdict.name for verdict in verdicts if verdict.outcome == "broken"}


def test_a_client_that_is_right(tmp_path: Path) -> None:
    """Every rule is kept, and every rule is judged."""
    verdicts = list(check(program(tmp_path), SECONDS))
    assert [(verdict.name, verdict.outcome) for verdict in verdicts] == [
        *((scenario.name, "kept") for scenario in SCENARIOS),
        *((name, "kept") for name in SENT_RULES),
    ]


ONE_READ = ("    while len(answer) < 4 or len(answer) < 4 + int(answer[:4]):", "    for _ in range(1):")


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ([("<frame>", 'b"%03d%s" % (len(body), body)')], {"four digits"}),
        ([("<frame>", 'b"%04d%s" % (len(body) + 2, body)')], {"length in bytes"}),
        ([("<frame>", f"2 * ({FRAME})")], {"sent once"}),
        ([('"get_user_info"', '"get_user_infos"')], {"known command"}),
        ([('"get_user_info"', '"get_authorization_code"')], {"known command"}),
        ([('"oxd_id": "x"', '"oxd_id": ""')], {"readable params"}),
        ([('"params": {"oxd_id": "x", "access_token": "y"}', '"params": []')], {"one object", "readable params"}),
        ([ONE_READ], {"in fragments", "split at 8192"}),
        ([("answer[4:].decode()", 'answer.decode().replace(answer[:4].decode(), "")')], {"its length in it"}),
        ([("sys.exit(b", "print(b"), (".decode()", '.decode().replace("error_of", "")')], {"an error"}),
        ([("            sys.exit(1)", "            sys.exit(0)")], {"no answer"}),
    ],
)
def test_a_client_with_a_fault(tmp_path: Path, changes: list[tuple[str, str]], rules: set[str]) -> None:
    """The rule that is broken is named; a fault that lies in one place breaks no other rule."""
    found = broken(list(check(program(tmp_path, *changes), SECONDS)))
    assert found & rules
    assert found <= rules


def test_a_client_that_waits_for_the_end(tmp_path: Path) -> None:
    """Servers keep connections open: a client that reads to the end of the stream never ends."""
    endless = ("    while len(answer) < 4 or len(answer) < 4 + int(answer[:4]):", "    while True:")
    verdicts = list(check(program(tmp_path, endless), 1))
    assert verdicts[0].reason == "the program did not end in time"


def test_a_client_that_always_fails(tmp_path: Path) -> None:
    """What it printed last is shown: there the reason mostly is."""
    verdicts = list(check(program(tmp_path, ("sys.exit(b", "sys.exit('no luck' or b")), SECONDS))
    assert verdicts[0].outcome == "broken"
    assert verdicts[0].reason.startswith("the program ended with 1: ")
    assert verdicts[0].reason.endswith("no luck")


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    """A program that prints nothing is judged by its exit; one that sends nothing is not judged."""
    silent = list(check(program(tmp_path, ("print(answer[4:].decode())", "")), SECONDS))
    assert {verdict.outcome for verdict in silent} == {"kept", "unseen"}
    assert silent[0].reason == "the program does not print what it reads, so only its exit was judged"
    idle = list(check(["true"], SECONDS))
    assert idle[0].reason == "nothing was sent to OXD_PORT; exit code 0"
    assert broken(idle) == {"nobody there"}


@pytest.mark.parametrize(
    ("sent", "rules"),
    [
        (b"", {"four digits", "one object"}),
        (b"0003[1]", {"one object"}),
        (b"x", {"four digits", "one object"}),
        (b'0010{"command": 1}', {"length in bytes", "one object"}),
        (b"0012{" + b'"command":"\xff"}', {"length in bytes", "one object"}),
        (b'10020{"command":"get_rp","params":{"oxd_id":"' + b"x" * 9976 + b'"}}', {"four digits", "length in bytes"}),
    ],
)
def test_bytes_that_break_rules(sent: bytes, rules: set[str]) -> None:
    """What no program of a test sends is judged too."""
    assert {name for name, _ in broken_rules(sent)} == rules


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_an_answer_has_the_keys_of_its_command(command: object) -> None:
    """A client that expects its command's keys finds all of them."""
    name, result = getattr(command, "name"), getattr(command, "result")  # noqa: B009
    assert tuple(answer_data(name, "text")) == result.__struct_fields__


def test_several_commands_on_one_connection() -> None:
    """A client that keeps its connection has each command answered; too many bytes end it."""
    with running(SCENARIOS[0]) as server:
        client = BlockingClient(port=server.port)
        assert client.exchange("get_rp", {"oxd_id": "x"}).ok
        assert client.exchange("no_command", {}).data == {"oxd_id": SCENARIOS[0].mark}


def test_a_command_after_which_nothing_will_come() -> None:
    """A client that closes its side after the command has it answered."""
    with running(SCENARIOS[0]) as server, socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        connection.sendall(b'0035{"command": "get_rp", "params": {}}')
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(4).isdigit()


def test_a_command_in_pieces_and_too_many_connections() -> None:
    """The server waits for a whole frame, and takes no more connections than a client under test can need."""
    with running(SCENARIOS[0]) as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"0002{")
                while server.sent[-1:] != [b"0002{"]:
                    connection.settimeout(SECONDS)
                connection.sendall(b"}")
                assert connection.recv(4).isdigit()
    assert len(server.sent) == 20


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each rule, a summary, and an exit code that tells."""
    assert main(["check", "--", *program(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("No rule is broken.\n")
    assert main(["check", "--seconds", "3", *program(tmp_path, ("<frame>", f"2 * ({FRAME})"))]) == 1
    printed = capsys.readouterr().out
    assert "        the first frame came 2 times\n" in printed
    assert printed.endswith("Rules broken: 1.\n")
    assert main(["check", "no-such-program-is-here"]) == 2
    assert capsys.readouterr().err == "oxd-protocol: no-such-program-is-here: No such file or directory\n"
    with pytest.raises(SystemExit, match="2"):
        main(["check"])


def test_both_packages_have_one_version() -> None:
    """The protocol's package and the server's are released together."""
    assert oxd_protocol.__version__ == oxd_server.__version__


def test_the_installed_command() -> None:
    """``oxd-protocol`` is installed with the server, too."""
    command = Path(sys.executable).with_name("oxd-protocol")
    done = subprocess.run([command, "check", "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert "{host} and {port}" in done.stdout


def test_the_place_is_put_into_arguments(tmp_path: Path) -> None:
    """A program that takes its server from its arguments is checked as well."""
    taken = ('int(os.environ["OXD_PORT"])', "int(sys.argv[2])")
    assert broken(list(check([*program(tmp_path, taken), "{host}", "{port}"], SECONDS))) == set()


def test_the_package_of_its_own(tmp_path: Path) -> None:
    """The wheel from ``protocol/`` has the modules, the vectors and the command, and needs msgspec alone."""
    shutil.copytree(ROOT / "protocol", tmp_path / "protocol", ignore=shutil.ignore_patterns("*.egg-info", "build"))
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(tmp_path / "protocol")]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = tmp_path.glob("oxd_protocol-*.whl")
    target = tmp_path / "installed"
    install = [*pip, "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    assert (target / "oxd_protocol" / "py.typed").is_file()
    assert len(list((target / "oxd_protocol" / "vectors").glob("*.json"))) == 3
    metadata = next(target.glob("oxd_protocol-*.dist-info")) / "METADATA"
    required = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist:")]
    assert [line for line in required if "extra ==" not in line] == ["Requires-Dist: msgspec>=0.20"]
    check_it: list[str | Path] = [target / "bin" / "oxd-protocol", "check", *program(tmp_path)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(target)}
    done = subprocess.run(check_it, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("No rule is broken.\n"), done.stdout + done.stderr
