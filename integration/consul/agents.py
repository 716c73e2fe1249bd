"""A Consul agent as a process, server or client, and what tests ask of it."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from integration.consul.fetch import PACKAGED, binary
from integration.processes import PATIENCE, dies_with_us, eventually, free_ports

ROOT_TOKEN = "11111111-2222-3333-4444-555555555555"
_LAST_WORDS = 30
_GRACE = 10.0
"""Seconds for a server that is asked to end."""


class Agent:
    """Runs for as long as `async with` lasts. Addresses and data stay from one run to the next."""

    def __init__(
        self,
        version: str,
        folder: Path,
        name: str = "srv1",
        *,
        joins: "Agent | None" = None,
        acl: bool = False,
        wan: "Agent | None" = None,
        datacenter: str = "dc1",
        **more: Any,
    ) -> None:
        """Prepare a server, or a client that `joins` one.

        Args:
            version: the release.
            folder: for its files.
            name: of the node.
            joins: the server of which this is a client agent.
            acl: who has no token sees nothing.
            wan: a server of another datacenter, to be joined to.
            datacenter: its own.
            more: further settings, see Consul's reference.
        """
        self.version = version
        self.name = name
        self._is_server = joins is None
        self._has_acl = acl
        self._file = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        http, server, serf, grpc, serf_wan = free_ports(5)
        self.serf_port, self.wan_port = serf, serf_wan
        self.datacenter = datacenter
        self.url = f"http://127.0.0.1:{http}"
        ports = {"http": http, "server": server, "serf_lan": serf, "serf_wan": serf_wan, "dns": -1}
        ports |= {"grpc": grpc if self._is_server and version != PACKAGED else -1}
        if version != PACKAGED:
            ports["grpc_tls"] = -1
        config: dict[str, Any] = {
            "datacenter": datacenter,
            "data_dir": str(folder / f"{name}-data"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "server": self._is_server,
            "node_name": name,
            "log_level": "WARN",
            "ports": ports,
            "disable_update_check": True,
            "performance": {"raft_multiplier": 1},
            "leave_on_terminate": False,
        }
        if joins is None:
            config["bootstrap_expect"] = 1
        else:
            config["retry_join"] = [f"127.0.0.1:{joins.serf_port}"]
            config["retry_interval"] = "1s"
        if acl:
            key = "master" if version == PACKAGED else "initial_management"
            config["acl"] = {"enabled": True, "default_policy": "deny", "tokens": {key: ROOT_TOKEN}}
        if wan is not None:
            config |= {"retry_join_wan": [f"127.0.0.1:{wan.wan_port}"], "retry_interval_wan": "1s"}
        config["ports"] |= more.pop("ports", {})
        self._file.write_text(json.dumps(config | more))
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            print("\n".join([f"{self.name} ends:", *self._log.read_text().splitlines()[-_LAST_WORDS:]]))
        self.end()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, is_ready: bool = True) -> None:
        """Start it and return as soon as it gives consistent answers; not `is_ready`: any answers."""
        self.spawn()
        await eventually(self.is_ready if is_ready else self.answers, PATIENCE)

    def spawn(self) -> None:
        """Start it. It ends with the thread that called, if not before."""
        command = [str(binary(self.version)), *(["agent"] if self.version == PACKAGED else [])]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with_us(), *command, f"-config-file={self._file}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    async def stop(self) -> None:
        """End it as an operator would."""
        assert self._process is not None
        process, self._process = self._process, None
        process.terminate()
        try:
            await eventually(lambda: _result(process.poll() is not None), _GRACE)
        finally:
            _end(process)

    async def kill(self) -> None:
        """End it as a crash would, also while it is frozen."""
        self.end()

    def end(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            process, self._process = self._process, None
            _end(process)

    def freeze(self) -> None:
        """Stop it in its tracks."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def answers(self) -> bool:
        """Whether it answers at all."""
        try:
            await self.call("GET", "/v1/status/leader")
        except aiohttp.ClientConnectionError:
            return False
        except RuntimeError:  # That it has no leader is an answer, too.
            return True
        return True

    async def is_ready(self) -> bool:
        """Whether it has a leader that knows at least one node."""
        try:
            return bool(await self.call("GET", "/v1/catalog/nodes")) and await self._has_leader()
        except (aiohttp.ClientConnectionError, RuntimeError):
            return False

    async def _has_leader(self) -> bool:
        services = await self.call("GET", "/v1/catalog/services")
        if self._has_acl:
            await self.call("GET", "/v1/acl/policies")
        return "consul" in services

    async def call(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        """Return what it answers; with the root token unless another is given.

        Raises:
            RuntimeError: the answer's status is not 200.
        """
        used = token or (ROOT_TOKEN if self._has_acl else "")
        headers = {"X-Consul-Token": used} if used else {}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.url + path, headers=headers, data=data) as answer,
        ):
            content = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        try:
            return json.loads(content)
        except ValueError:
            return content

    async def register(self, service: str, address: str, port: int = 8080, **fields: object) -> None:
        """Register an instance on a node of its own, with a passing check unless `Status` says otherwise."""
        node, id_ = f"node-{address}", f"{service}-{address}"
        status = fields.pop("Status", "passing")
        check = {"CheckID": f"service:{id_}", "Name": "up", "Status": status, "ServiceID": id_, "Node": node}
        made = {"ID": id_, "Service": service, "Address": address, "Port": port, **fields}
        await self.call(
            "PUT",
            "/v1/catalog/register",
            {"Node": node, "Address": "192.0.2.250", "Service": made, "Check": check},
        )

    async def deregister(self, service: str, address: str) -> None:
        """Remove an instance."""
        body: Mapping[str, str] = {"Node": f"node-{address}", "ServiceID": f"{service}-{address}"}
        await self.call("PUT", "/v1/catalog/deregister", body)

    async def wipe(self) -> None:
        """Remove every node but its own."""
        for node in await self.call("GET", "/v1/catalog/nodes"):
            if node["Node"] != self.name:
                await self.call("PUT", "/v1/catalog/deregister", {"Node": node["Node"]})


async def _result(value: bool) -> bool:
    return value


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
