"""The peers of the gateway, each in processes of its own."""

import shutil
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks import corpus
from benchmarks.load.client import Result
from benchmarks.measure import Settings
from benchmarks.processes import Broken, Program, python, until
from benchmarks.sink import Stats
from benchmarks.subjects.base import Delivering, Facts, OwnSink, Subject, address_of

__all__ = ["PEERS", "BareAiohttp", "Nginx", "PlainGateway", "Segment"]

_NODE = Path(__file__).parents[1] / "peers/node"
_CONNECT_S = 5.0

# As in Mixpanel's own example of a proxy, but for what makes it faster: connections to the
# destination are kept and are not encrypted, bodies stay in memory, nothing is logged.
_NGINX = """\
daemon off;
worker_processes 1;
user root;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  client_max_body_size 4m;
  client_body_buffer_size 4m;
  keepalive_requests 1000000000;
  upstream mixpanel {{
    server {sink};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=16384;
    location / {{
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host api.mixpanel.com;
      proxy_set_header X-Real-IP $http_x_forwarded_for;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Host $server_name;
      proxy_pass http://mixpanel;
    }}
  }}
}}
"""


class BareAiohttp(Subject):
    """The ceiling of everything in aiohttp."""

    name = "aiohttp"
    about = "reads the body and answers: the ceiling"

    def __init__(self, directory: Path, sink: OwnSink) -> None:
        super().__init__()
        self._directory = directory
        self._url = ""

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes events."""
        return address_of(self._url)

    def start(self, stack: ExitStack) -> None:
        """Start it."""
        command = python("benchmarks.peers.bare_aiohttp")
        log = self._directory / "aiohttp.log"
        self.program = stack.enter_context(Program("bare aiohttp", command, log=log))
        self._url = self.program.wait_for(r"(http://\S+)")[1]

    def before(self) -> None:
        """Do nothing: it counts nothing."""

    def settle(self, results: Sequence[Result]) -> Facts:
        """Return nothing: it keeps nothing."""
        return {}


class Nginx(Delivering):
    """A reverse proxy."""

    name = "nginx"
    about = "passes requests on unmapped, not durable"

    def __init__(self, directory: Path, sink: OwnSink) -> None:
        super().__init__(sink)
        self._directory = directory

    @classmethod
    def missing(cls) -> str:
        """Return how to install nginx; "" when it is there."""
        return "" if _nginx() else "apt-get install nginx-light"

    def start(self, stack: ExitStack) -> None:
        """Start it on a port that is free."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        sink = "{}:{}".format(*address_of(self.sink.url))
        config = self._directory / "nginx.conf"
        config.write_text(_NGINX.format(directory=self._directory, sink=sink, port=port))
        command = (_nginx(), "-p", str(self._directory), "-c", str(config))
        log = self._directory / "nginx.log"
        self.program = stack.enter_context(Program("nginx", command, log=log))
        self._url = f"http://127.0.0.1:{port}"
        if not until(self._serves, _CONNECT_S):
            raise Broken(f"nginx does not listen at {self._url}")

    def wanted(self, results: Sequence[Result]) -> int:
        """Return how many requests should arrive."""
        return sum(result.requests for result in results)

    def got(self, before: Stats, after: Stats) -> int:
        """Return how many did, without those that ask for the counters."""
        return after.requests - before.requests

    def _serves(self) -> bool | None:
        self.program.check()
        try:
            socket.create_connection(self.address, timeout=1.0).close()
        except OSError:
            return None
        return True


class PlainGateway(Delivering):
    """A gateway in plain Python."""

    name = "python"
    about = "aiohttp, json, dicts, zlib; not durable"

    def __init__(self, directory: Path, sink: OwnSink) -> None:
        super().__init__(sink)
        self._directory = directory

    def start(self, stack: ExitStack) -> None:
        """Start it."""
        command = python("benchmarks.peers.plain_gateway", self.sink.url, _settings().decode())
        log = self._directory / "python.log"
        self.program = stack.enter_context(Program("the plain-Python gateway", command, log=log))
        self._url = self.program.wait_for(r"(http://\S+)")[1]


class Segment(Delivering):
    """Segment's engine behind Node's http."""

    name = "segment"
    about = "Segment's engine behind Node's http; not durable"

    def __init__(self, directory: Path, sink: OwnSink) -> None:
        super().__init__(sink)
        self._directory = directory

    @classmethod
    def missing(cls) -> str:
        """Return how to install the engine; "" when it is there."""
        if shutil.which("node") and (_NODE / "node_modules/.installed").exists():
            return ""
        return "make bench-peers"

    def start(self, stack: ExitStack) -> None:
        """Start it."""
        task = b'{"sink":"%b","settings":%b}' % (self.sink.url.encode(), _settings())
        command = ("node", str(_NODE / "server.mjs"), task.decode())
        log = self._directory / "segment.log"
        self.program = stack.enter_context(Program("Segment's engine", command, log=log))
        self._url = self.program.wait_for(r"(http://\S+)")[1]


PEERS = (BareAiohttp, Nginx, PlainGateway, Segment)
"""In the order of tables."""


def _nginx() -> str:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or ""


def _settings() -> bytes:
    return msgspec.json.encode(Settings(received_ms=corpus.RECEIVED_MS))
