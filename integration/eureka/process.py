"""Real Eureka servers on loopback, what registers at them, and a gate before one."""

import asyncio
import contextlib
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web
from py_eureka_client import eureka_basic

from integration.processes import dies_with_us, free_ports

QUICK = (
    "--eureka.server.use-read-only-response-cache=false",
    "--eureka.server.eviction-interval-timer-in-ms=1000",
    "--eureka.server.enable-self-preservation=false",
)
"""Settings that show changes at once."""
_START = 90.0
_WORKERS = 16
_GRACE = 10.0


class EurekaServer:
    """A server in a process of its own; it keeps its port from one start to the next, and nothing else."""

    def __init__(
        self,
        jar: Path,
        folder: Path,
        *settings: str,
        heap: str = "192m",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Describe a server; `tls` is what its clients need where its settings demand TLS."""
        self.port = free_ports(1)[0]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/eureka"
        self.tls = tls
        self.settings = settings
        self._jar = jar
        self._heap = heap
        self._log = folder / f"eureka-{self.port}.log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Start it without waiting."""
        java = ["java", f"-Xmx{self._heap}", "-XX:+UseSerialGC"]
        nice = ["nice", "-n", "5"] if shutil.which("nice") else []
        command = [*dies_with_us(), *nice, *java, "-XX:TieredStopAtLevel=1", f"-Duser.home={self._folder}"]
        command += ["-jar", str(self._jar), f"--server.port={self.port}", *self.settings]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder)

    def start(self) -> float:
        """Start it and return the seconds until it answers."""
        began = time.monotonic()
        self.launch()
        self.wait_ready()
        return time.monotonic() - began

    def wait_ready(self) -> None:
        """Return as soon as it answers.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        assert self._process is not None
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"Eureka ended: {self._log.read_text(errors='replace')[-3000:]}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/apps", timeout=2, context=self.tls).close()
                return
            time.sleep(0.05)
        raise RuntimeError(f"Eureka does not answer: {self._log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """End it for certain."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop it in its tracks."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Clients:
    """Registrations at one server, made with py-eureka-client as its own instances make them."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/"

    async def register(self, app: str, address: str, port: int = 8080, **fields: object) -> None:
        """Register an instance that is UP; an instance of that address and service is replaced."""
        now = int(time.time() * 1000)
        values = {
            "instanceId": f"{address}:{app}:8080",
            "app": app.upper(),
            "ipAddr": address,
            "hostName": f"vm-{address}.corp",
            "status": "UP",
            "port": eureka_basic.PortWrapper(port=port, enabled=True),
            "securePort": eureka_basic.PortWrapper(port=443, enabled=False),
            "vipAddress": app,
            "secureVipAddress": app,
            "leaseInfo": eureka_basic.LeaseInfo(durationInSecs=90),
            "metadata": {"zone": "eu-1a", "version": "v1"},
            "lastUpdatedTimestamp": now,
            "lastDirtyTimestamp": now,
            **fields,
        }
        await eureka_basic.register(self._url, eureka_basic.Instance(**values))

    async def register_plain(self, app: str, address: str, tls: ssl.SSLContext) -> None:
        """Register an instance over TLS, which py-eureka-client can't with a certificate of ours."""
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(connector=connector) as http:
            await _post(http, f"{self._url}apps/{app.upper()}", _plain_instance(app.upper(), address))

    async def register_many(self, apps: int, instances: int) -> None:
        """Register so many instances of so many services, quicker than one after the other."""
        numbers = iter(range(apps * instances))

        async def work(http: aiohttp.ClientSession) -> None:
            for number in numbers:
                app = f"APP-{number // instances:04d}"
                address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
                await _post(http, f"{self._url}apps/{app}", _plain_instance(app, address))

        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(work(http))

    async def cancel(self, app: str, address: str) -> None:
        """Deregister an instance."""
        await self.remove(app, f"{address}:{app}:8080")

    async def remove(self, app: str, instance: str) -> None:
        """Deregister the instance with this id."""
        await eureka_basic.cancel(self._url, app.upper(), instance)

    async def override(self, app: str, address: str, status: str) -> None:
        """Override an instance's status, as an operator does."""
        await eureka_basic.status_update(
            self._url, app.upper(), f"{address}:{app}:8080", int(time.time() * 1000), status
        )

    async def drop_override(self, app: str, address: str) -> None:
        """Take an override back."""
        await eureka_basic.delete_status_override(
            self._url, app.upper(), f"{address}:{app}:8080", int(time.time() * 1000)
        )

    async def clear(self) -> None:
        """Deregister everything."""
        async with aiohttp.ClientSession(headers={"Accept": "application/json"}) as http:
            async with http.get(f"{self._url}apps") as answer:
                found = (await answer.json(content_type=None))["applications"]["application"]
            for app in found:
                for instance in app["instance"]:
                    (await http.delete(f"{self._url}apps/{app['name']}/{instance['instanceId']}")).release()


async def _post(http: aiohttp.ClientSession, url: str, instance: dict[str, object]) -> None:
    async with http.post(url, json={"instance": instance}) as answer:
        assert answer.status == 204, await answer.text()


def _plain_instance(app: str, address: str) -> dict[str, object]:
    return {
        "instanceId": f"{address}:{app.lower()}:8080",
        "hostName": f"vm-{address}.corp",
        "app": app,
        "ipAddr": address,
        "status": "UP",
        "port": {"$": 8080, "@enabled": "true"},
        "securePort": {"$": 443, "@enabled": "false"},
        "vipAddress": app.lower(),
        "dataCenterInfo": {
            "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
            "name": "MyOwn",
        },
        "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 900},
        "metadata": {"zone": "eu-1a", "version": "v1", "management.port": "8081"},
        "homePageUrl": f"http://{address}:8080/",
        "statusPageUrl": f"http://{address}:8080/actuator/info",
        "healthCheckUrl": f"http://{address}:8080/actuator/health",
    }


class Gate:
    """Passes requests on to a server, or answers instead of it."""

    def __init__(self, url: str) -> None:
        self._target = url
        self.status = 200
        """What is answered instead, unless it is 200."""
        self.authorization = ""
        """The header without which it answers 401, "" for none."""
        self.delay = 0.0
        self.asked: Counter[str] = Counter()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application()
        app.router.add_get("/eureka/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/eureka"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.asked[path] += 1
        if self.authorization and request.headers.get("Authorization") != self.authorization:
            return web.Response(status=401)
        if self.status != 200:
            return web.Response(status=self.status)
        passed = {name: request.headers[name] for name in ("Accept", "Accept-Encoding")}
        async with self._http.get(f"{self._target}/{path}", headers=passed) as answer:
            body = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.startswith("Content-Enc")}
            return web.Response(status=answer.status, body=body, headers=kept)
