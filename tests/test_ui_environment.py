"""Where the app listens: every wrong address is one line, and no proxy stands between the app and itself."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pinlab.records import PinLabError
from pinlab.ui import environment as surroundings
from pinlab.ui.environment import find_address, reach_directly, uploads_folder

ROOT = Path(__file__).parent.parent
LISTENING = "127.0.0.1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy but those that a test sets; what the code sets is taken back."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.setenv(spelled, "")
            monkeypatch.delenv(spelled)
    for name in surroundings.GRADIO_SETTINGS:
        monkeypatch.setenv(name, "")


@contextmanager
def taken(family: int = socket.AF_INET, host: str = LISTENING) -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket(family) as other:
        other.bind((host, 0))
        other.listen()
        yield other.getsockname()[1]


def free_port() -> int:
    with taken() as port:
        return port


@pytest.mark.parametrize("port", [0, -1, 65536, 99999])
def test_a_number_that_is_no_port(port: int) -> None:
    with pytest.raises(PinLabError, match=f"port {port}: choose one from 1 to 65535"):
        find_address(LISTENING, port)


def test_a_port_in_use() -> None:
    with taken() as port, pytest.raises(PinLabError, match=f"port {port} is in use on 127.0.0.1: choose another"):
        find_address(LISTENING, port)


def test_the_first_free_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with taken() as port:
        monkeypatch.setattr(surroundings, "FIRST_PORT", port)
        host, found = find_address(LISTENING, None)
        assert host == LISTENING
        assert port < found < port + surroundings.PORTS
        monkeypatch.setattr(surroundings, "PORTS", 1)
        with pytest.raises(PinLabError, match=f"all ports from {port} to {port} are in use"):
            find_address(LISTENING, None)


def test_a_port_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, where: tuple) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(PinLabError, match="port 80 needs more rights"):
        find_address(LISTENING, 80)


@pytest.mark.parametrize("host", ["", "a" * 70, "::1::", "no.such.host.invalid"])
def test_what_is_no_host_name(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = socket.getaddrinfo

    def offline(name: str, *rest: object, **more: object) -> list:
        if name.endswith(".invalid"):  # resolvers ask the network about such a name
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(PinLabError, match="there is no such address"):
        find_address(host, free_port())


def test_an_address_of_another_machine() -> None:
    with pytest.raises(PinLabError, match="'192.0.2.1' is no address of this machine"):
        find_address("192.0.2.1", free_port())


@pytest.mark.parametrize("host", ["::1", "[::1]", "::"])
def test_ipv6_with_and_without_brackets(host: str) -> None:
    """As Gradio takes it, and as it stands in a link; one line where the machine has no IPv6."""
    port = free_port()
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((host.strip("[]"), 0))
    except OSError:
        with pytest.raises(PinLabError):
            find_address(host, port)
    else:
        assert find_address(host, port) == (f"[{host.strip('[]')}]", port)


WRONG = {
    "port 0": ["--port", "0"],
    "port 99999": ["--port", "99999"],
    "port: invalid int value": ["--port", "http"],
    "no address of this machine": ["--host", "192.0.2.1"],
    "there is no such address": ["--host", "a" * 70],
    "unrecognized arguments": ["--prot", "8000"],
}


@pytest.mark.parametrize("words", WRONG)
def test_the_app_says_it_in_one_line(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "app.py", *WRONG[words]], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert done.stdout == ""


def test_gradios_own_variables_are_read_as_options() -> None:
    more = {"GRADIO_SERVER_PORT": "none", "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_NUM_PORTS": "many"}
    run = [sys.executable, "app.py"]
    done = subprocess.run(run, cwd=ROOT, env=os.environ | more, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "invalid int value: 'none'" in done.stderr


def test_an_interruption_while_libraries_are_imported_prints_nothing() -> None:
    code = (
        "import os, signal, sys, types, app\n"
        "late = types.ModuleType('pinlab.lab')\n"
        "late.__getattr__ = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.modules['pinlab.lab'], sys.argv[1:] = late, []\n"
        "app.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


# ---------------------------------------------------------------- proxies


class _Refusing(http.server.BaseHTTPRequestHandler):
    answer = 403

    def do_GET(self) -> None:
        self.send_response(self.answer)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Answering(_Refusing):
    answer = 200


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    with http.server.ThreadingHTTPServer((LISTENING, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


PROXIES = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
EXCEPTIONS = [{}, {"no_proxy": "example.org"}, {"NO_PROXY": "example.org"}, {"no_proxy": "", "NO_PROXY": "127.0.0.1"}]


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("exceptions", EXCEPTIONS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_the_app_reaches_itself_past_a_proxy(
    proxy: str, exceptions: dict[str, str], network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(_Refusing) as refusing, serving(_Answering) as answering:
        monkeypatch.setenv(proxy, f"http://{LISTENING}:{refusing}")
        for name, value in exceptions.items():
            monkeypatch.setenv(name, value)
        own = f"http://{LISTENING}:{answering}"
        assert httpx.get(own).status_code == 403
        reach_directly("host.example.org", network)
        assert httpx.get(own).status_code == 200
        if network:  # the Hub is asked through the proxy as before
            assert httpx.get("http://hub.invalid").status_code == 403
            wanted = {"localhost", LISTENING, "::1", "host.example.org", *exceptions.get("no_proxy", "").split(",")}
            assert wanted - {""} <= set(os.environ["no_proxy"].split(","))


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://127.0.0.1:9"])
@pytest.mark.parametrize("name", ["all_proxy", "ALL_PROXY", "https_proxy", "HTTP_PROXY"])
def test_a_proxy_that_cannot_be_used_matters_only_where_the_network_is_needed(
    name: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, proxy)
    with pytest.raises(PinLabError, match="proxy settings"):
        reach_directly(LISTENING, network=True)
    reach_directly(LISTENING, network=False)
    httpx.Client().close()


# ---------------------------------------------------------------- uploads


def test_uploads_have_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "new" / "folder"))
    with uploads_folder():
        own = Path(os.environ["GRADIO_TEMP_DIR"])
        assert own.parent == tmp_path / "new" / "folder"
        assert own.stat().st_mode & 0o077 == 0  # nobody else reads them
        (own / "picture").write_text("")
    assert not own.exists()


def test_a_folder_for_uploads_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    with pytest.raises(PinLabError, match="uploads cannot be kept in .*file .* set GRADIO_TEMP_DIR"), uploads_folder():
        pass
