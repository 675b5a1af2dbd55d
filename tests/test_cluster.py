"""Dask listens where it is told to and nowhere else: the documented commands, and our own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import sweep_functions
from convcost import sweep
from convcost.application import cli
from test_sweep import POWERS, numbers

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """Every `dask scheduler` and `dask worker` of the pages, each in one line."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            joined = block.replace("\\\n", " ")
            found += re.findall(r"dask (?:scheduler|worker|ssh)\b[^>&\n]*", joined)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(*processes: subprocess.Popen) -> set[str]:
    """The addresses at which these processes and their children listen."""
    family = [psutil.Process(process.pid) for process in processes]
    family += [child for one in family for child in one.children(recursive=True)]
    return {
        connection.laddr.ip
        for one in family
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def is_alive(process: psutil.Process) -> bool:
    """A zombie is not: who has to bury it is not our matter."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stopped(process: subprocess.Popen) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=20)
    sweep_functions.wait_for(lambda: not any(map(is_alive, children)))


def test_every_documented_command_says_where_to_listen():
    assert len(commands()) >= 4
    for command in commands():
        assert re.search(r"--host \S+", command), command
        assert "--dashboard-address 127.0.0.1:0" in command, command
        assert "--no-dashboard" not in command and "dask ssh" not in command  # they open ports


def test_the_documented_commands_listen_on_one_address_only(tmp_path):
    """As it stands there, with 127.0.0.1 for the machine's name and two workers for four."""
    scheduler, worker = commands()[:2]
    port = free_port()
    running = []
    try:
        for number, command in enumerate((scheduler, worker)):
            command = re.sub(r"\blab1\b|\$host", "127.0.0.1", command).replace("8786", str(port))
            words = command.replace("--nworkers 4", "--nworkers 2").split()
            with (tmp_path / f"log-{number}").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        [sys.executable, "-m", *words], stdout=log, stderr=log, cwd=tmp_path
                    )
                )
        logged = tmp_path / "log-1"
        sweep_functions.wait_for(lambda: logged.read_text().count("Registered to") >= 2)
        assert listening(*running) == {"127.0.0.1"}
    finally:
        for process in reversed(running):
            stopped(process)


def started(tmp_path, *words) -> tuple[subprocess.Popen, str]:
    (tmp_path / "traces").mkdir()
    environment = {**os.environ, "TRACES": str(tmp_path / "traces")}
    process = subprocess.Popen(
        [sys.executable, "-m", "convcost", "cluster", *words],
        env=environment,
        stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    first = process.stdout.readline()
    assert f"make sweep SCHEDULER={first.split()[1].rstrip(',')}" in process.stdout.readline()
    return process, first.split()[1].rstrip(",")


def test_our_cluster_is_open_to_nobody_else_works_and_ends(tmp_path):
    process, address = started(tmp_path, "--host", "127.0.0.1", "--workers", "2", "--port", "0")
    try:
        assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", address)
        workers = psutil.Process(process.pid).children()
        assert len(workers) >= 2
        assert listening(process) == {"127.0.0.1"}
        done = sweep.run(
            POWERS, numbers(1, 2), tmp_path / "results", scheduler=address, progress=None
        )
        assert list(done.units.status) == ["done", "done"]
        process.send_signal(signal.SIGINT)  # Ctrl-C
        assert process.wait(timeout=30) == 0
        sweep_functions.wait_for(lambda: not any(map(is_alive, workers)))
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "convcost", "cluster", "--workers", "1", "--port", port],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"no scheduler can listen at 127.0.0.1, port {port}" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "name one address"),
        (["--host", "::"], "name one address"),
        (["--host", ""], "name one address"),
        (["--workers", "0"], "workers is 0; a whole number from 1 on"),
        (["--port", "70000"], "0 to 65535"),
    ],
)
def test_what_makes_no_sense_is_refused(words, says, capsys):
    assert cli.main(["cluster", *words]) == 2
    assert says in capsys.readouterr().err
