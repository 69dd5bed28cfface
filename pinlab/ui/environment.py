"""What the app needs of the machine: an address, a way to itself past proxies, a folder for uploads.

Looked at before anything is loaded, so that a mistake is told at once.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

import httpx

from pinlab.records import PinLabError

FIRST_PORT, PORTS = 7860, 100  # Gradio's own range
LOOPBACK = "127.0.0.1"
# Gradio reads these when it is imported and stops with a traceback where one is wrong; the app decides by itself.
GRADIO_SETTINGS = ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_NUM_PORTS")


def find_address(host: str, port: int | None) -> tuple[str, int]:
    """An address that can be listened on, as Gradio takes it.

    Args:
        host: a name, an IPv4 address, or an IPv6 address with or without brackets. port: None for the first free one.

    Raises:
        PinLabError: the host is none of this machine, or the port is taken, not allowed or no port.
    """
    for name in GRADIO_SETTINGS:
        os.environ.pop(name, None)
    if port is not None and not 1 <= port <= 65535:
        raise PinLabError(f"port {port}: choose one from 1 to 65535, or leave --port out for the first free one")
    bare = host.removeprefix("[").removesuffix("]")
    for candidate in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        if problem := _problem(bare, candidate):
            if port is not None:
                raise PinLabError(problem)
            continue
        return (f"[{bare}]" if ":" in bare else bare), candidate
    last = FIRST_PORT + PORTS - 1
    raise PinLabError(f"all ports from {FIRST_PORT} to {last} are in use on {host}; name a free one with --port")


def _problem(host: str, port: int) -> str:
    """Why nothing can listen there; empty where it can.

    Raises:
        PinLabError: the host is none of this machine, whatever the port.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise PinLabError(f"host {host!r}: there is no such address ({error}); try --host {LOOPBACK}") from error
    # Gradio 6.31 looks whether a port is free on the loopback address, whatever address it is to serve.
    places = {(family, address) for family, *_, address in found} | {(socket.AF_INET, (LOOPBACK, port))}
    with ExitStack() as stack:
        for family, address in places:
            probe = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return f"port {port} is in use on {host}: choose another one, or leave --port out"
                if error.errno == errno.EACCES:
                    return f"port {port} needs more rights than this user has: choose one above 1023"
                raise PinLabError(f"host {host!r} is no address of this machine ({error.strerror})") from error
    return ""


def reach_directly(host: str, network: bool) -> None:
    """Have the app reach its own address past any proxy of the environment.

    Gradio asks its own server whether it is up, and libraries fail on a proxy that they do not understand even where
    nothing is sent through it.

    Args:
        host: as for `find_address`. network: whether anything but the app itself is to be reached, the Hub that is.

    Raises:
        PinLabError: the network is needed, and the proxy settings cannot be used.
    """
    kept = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))  # the lower-case one counts where both are set
    own = ["localhost", LOOPBACK, "::1", host.removeprefix("[").removesuffix("]")]
    excepted = ",".join(dict.fromkeys(filter(None, [*kept.split(","), *own]))) if network else "*"
    os.environ.update(no_proxy=excepted, NO_PROXY=excepted)
    if network:
        try:
            httpx.Client().close()
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise PinLabError(
                f"the proxy settings (http_proxy, https_proxy, all_proxy) do not work: {error}"
            ) from error


@contextmanager
def uploads_folder() -> Iterator[None]:
    """While open, uploads go to a folder of this process, or to the one that GRADIO_TEMP_DIR names.

    Gradio's default is one folder for all users of a machine, which belongs to the first of them. It reads the variable
    when it is imported, so open this before.

    Raises:
        PinLabError: nothing can be written there.
    """
    named = os.environ.get("GRADIO_TEMP_DIR")
    try:
        if named:
            os.makedirs(named, exist_ok=True)
        own = TemporaryDirectory(prefix="pinlab-uploads-", dir=named, ignore_cleanup_errors=True)
    except OSError as error:
        raise PinLabError(
            f"uploads cannot be kept in {named or 'the temporary folder'} ({error.strerror or error}); "
            "set GRADIO_TEMP_DIR to a folder that you can write to"
        ) from error
    with own as folder:
        os.environ["GRADIO_TEMP_DIR"] = os.path.realpath(folder)
        yield
