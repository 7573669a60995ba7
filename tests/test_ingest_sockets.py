"""What connections have from the socket that they came in by."""

import socket

import pytest

from gateway.ingest.sockets import listen


@pytest.mark.parametrize("shared", [False, True])
def test_the_system_finds_out_who_has_gone_without_a_word(shared: bool) -> None:
    (listener,) = listen("127.0.0.1", 0, shared=shared)
    listener.settimeout(5)
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
