"""No test leaves this machine: look-ups and connections beyond it are refused, and written down.

Python reads a module of this name when it starts (``site``), so processes that tests start are guarded as well. A
library may swallow the refusal; the list of attempts fails the run all the same (``conftest``).
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import traceback
from typing import Any

LIST = "DARWIN_MRI_GUARD"  # names the file that gets the attempts
METADATA = ("169.254.169.254", "metadata.google.internal")  # of clouds: Ray asks with its usage report off, too
_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
_own = {"", "localhost", socket.gethostname()}


def is_local(host: object) -> bool:
    """Whether a host is this machine; a name that is not known to be is not."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in _own:
        return True
    try:
        address = ipaddress.ip_address(str(name).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def refuse(host: object) -> None:
    """Write an attempt down, with who made it, and raise OSError."""
    path = os.environ.get(LIST)
    if path and host not in METADATA:
        callers = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-2]]
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(f"{host} by {' '.join(sys.argv[:3])}: {' < '.join(reversed(callers[-6:]))}\n")
    raise OSError(f"tests stay on this machine: {host}")


def _guard(call: Any) -> Any:
    def guarded(own: socket.socket, address: Any) -> Any:
        # A datagram socket's connect sends nothing: Ray asks it for this machine's own address.
        inet = own.family in (socket.AF_INET, socket.AF_INET6) and own.type != socket.SOCK_DGRAM
        if inet and not is_local(address[0]) and not _is_ours(address[0]):
            refuse(address[0])
        return call(own, address)

    return guarded


def _is_ours(host: object) -> bool:
    """Whether an address is one of this machine's own: a socket can be bound to it."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(host), 0))
    except OSError:
        return False
    return True


def _look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
    if not is_local(host):
        try:
            ipaddress.ip_address(str(host))  # an address needs no look-up
        except ValueError:
            refuse(host)
    return _getaddrinfo(host, *args, **kwargs)


if os.environ.get(LIST):
    socket.socket.connect = _guard(_connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _guard(_connect_ex)  # type: ignore[method-assign]
    socket.getaddrinfo = _look_up
