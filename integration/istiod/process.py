"""One istiod process with a bridge as its only source of configuration."""

import asyncio
import json
import os
import textwrap
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from integration.istiod import configz
from integration.istiod.api_server import api_server
from integration.istiod.endpoints import EndpointWatch
from integration.processes import PATIENCE, dies_with_us, end, eventually, free_ports

_ENVIRONMENT = {
    "ENABLE_CA_SERVER": "false",
    "PILOT_CERT_PROVIDER": "none",
    "POD_NAME": "istiod-0",
    "POD_NAMESPACE": "istio-system",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "PILOT_ENABLE_GATEWAY_API": "false",
    "PILOT_ENABLE_IP_AUTOALLOCATE": "false",  # It would want to elect a leader at the API server.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",  # Stock Envoys lack the filter, and refuse the clusters.
    "PILOT_ENABLE_STATUS": "false",
    "PILOT_ENABLE_ANALYSIS": "false",
}
_LAST_WORDS = 40
"""Lines of its log that are shown when a test fails."""


class IstiodEndedError(Exception):
    """istiod ended by itself; the text is the end of its log."""


@dataclass(frozen=True)
class Ports:
    """Where istiod listens on 127.0.0.1."""

    grpc: int
    http: int
    monitoring: int
    introspection: int


class Istiod:
    """Runs for as long as `async with` lasts. It need not be ready then: see `wait_ready`."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        xds_address: str,
        ca_pem: str = "",
        *,
        has_policies: bool = False,
        revision: str = "",
        kubeconfig: str = "",
    ) -> None:
        """Prepare to run `binary`; `ca_pem`, when set, makes it use TLS towards the bridge.

        With `has_policies` it also reads the files that `write_policy` writes. `kubeconfig`, a text, is for
        another API server than the stand-in; without an `xds_address` that is its only source.
        """
        self._binary = binary
        self._folder = folder
        self._xds_address = xds_address
        self._ca_pem = ca_pem
        self._revision = revision
        self._policies = folder / "policies" if has_policies else None
        self._kubeconfig = kubeconfig
        self._log_file = folder / "istiod.log"
        self._stack = AsyncExitStack()
        self.ports = Ports(*free_ports(4))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            kubeconfig = self._kubeconfig or await stack.enter_async_context(api_server())
            (self._folder / "kubeconfig").write_text(kubeconfig)
            mesh = mesh_config(self._xds_address, self._ca_pem, self._policies)
            (self._folder / "mesh.yaml").write_text(mesh)
            if self._policies:
                self._policies.mkdir(exist_ok=True)
            self._http = await stack.enter_async_context(aiohttp.ClientSession(raise_for_status=True))
            self._log_file.write_bytes(b"")
            await self.start()
            stack.push_async_callback(self.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.last_words())
        await self._stack.__aexit__(kind, error, trace)

    async def start(self) -> None:
        """Start it, again after `stop`; it keeps its addresses."""
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_us(),
                *self._command(),
                env=os.environ | _ENVIRONMENT | {"REVISION": self._revision},
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )

    async def stop(self) -> None:
        """End it, by force if it doesn't on request."""
        await end(self._process)

    def write_policy(self, name: str, *objects: Mapping[str, Any]) -> None:
        """Make these Kubernetes objects a file of istiod's; one from before its start counts at once."""
        assert self._policies is not None, "it needs has_policies"
        new = self._folder / "policy.new"
        new.write_text("---\n".join(json.dumps(found) + "\n" for found in objects))
        self._policies.mkdir(exist_ok=True)
        new.replace(self._policies / f"{name}.yaml")

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid

    @property
    def address(self) -> str:
        """Where proxies and clients ask it."""
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log_file.read_text(errors="replace")

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(["istiod's log ends:", *self.log.splitlines()[-_LAST_WORDS:]])

    async def is_ready(self) -> bool:
        """Whether it takes proxies.

        Raises:
            IstiodEndedError: it doesn't run any more.
        """
        if self._process.returncode is not None:
            raise IstiodEndedError(self.last_words())
        try:
            url = f"http://127.0.0.1:{self.ports.http}/ready"
            async with self._http.get(url, raise_for_status=False) as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def wait_ready(self, within: float = PATIENCE) -> None:
        """Return as soon as it takes proxies.

        Raises:
            IstiodEndedError: it doesn't run any more.
            TimeoutError: it is not ready within so many seconds.
        """
        await eventually(self.is_ready, within)

    async def configz(self) -> list[Mapping[str, Any]]:
        """Return every object that it holds, as its debug interface shows them, in a fixed order."""
        url = f"http://127.0.0.1:{self.ports.monitoring}/debug/configz"
        async with self._http.get(url) as response:
            found = json.loads(await response.read()) or []
        return sorted(found, key=configz.key)

    def endpoints(self, host: str, port: int) -> EndpointWatch:
        """Return what follows, as a proxy does, the endpoints of a host; to be used with `async with`."""
        return EndpointWatch(self.address, host, port)

    def _command(self) -> list[str]:
        ports = self.ports
        return [
            *(str(self._binary), "discovery", "--registries="),
            *(f"--meshConfig={self._folder}/mesh.yaml", f"--kubeconfig={self._folder}/kubeconfig"),
            *(f"--grpcAddr=127.0.0.1:{ports.grpc}", f"--httpAddr=127.0.0.1:{ports.http}"),
            *(f"--monitoringAddr=127.0.0.1:{ports.monitoring}", "--secureGRPCAddr=", "--httpsAddr="),
            *(f"--ctrlz_port={ports.introspection}", "--ctrlz_address=127.0.0.1"),
            *("--clusterID=Kubernetes", "--domain=cluster.local", "--shutdownDuration=0s"),
        ]


def mesh_config(xds_address: str, ca_pem: str = "", policies: Path | None = None) -> str:
    """Return a MeshConfig with one MCP source, policies if any, and the API server that istiod wants."""
    lines = ["rootNamespace: istio-system", "trustDomain: cluster.local", "configSources:"]
    lines += [f"- address: xds://{xds_address}"] if xds_address else []
    if ca_pem:
        lines += ["  tlsSettings:", "    mode: SIMPLE", "    caCertificates: |"]
        lines += [textwrap.indent(ca_pem, " " * 6)]
    if policies:
        lines += [f"- address: fs://{policies}"]
    return "\n".join([*lines, "- address: k8s://", ""])
