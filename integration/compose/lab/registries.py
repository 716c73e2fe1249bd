"""How programs register themselves; each function returns what takes the registration back."""

import json
import time
from collections.abc import Callable, Mapping

Leave = Callable[[], object]
Register = Callable[[str, str, str, int, str], Leave]
_PAUSE = 1.0


def zookeeper(service: str, name: str, address: str, port: int, version: str) -> Leave:
    """Write an ephemeral node as Curator's service discovery does."""
    from kazoo.client import KazooClient, KazooState

    client = KazooClient("zookeeper:2181", timeout=4)
    path = f"/services/{service}/{name}"
    record = {"name": service, "id": name, "address": address, "port": port, "payload": {"version": version}}

    def write() -> None:
        client.ensure_path(f"/services/{service}")
        if not client.exists(path):
            client.create(path, json.dumps(record).encode(), ephemeral=True)

    def after(state: str) -> None:
        if state == KazooState.CONNECTED:  # Also after the session, and the node with it, was lost.
            client.handler.spawn(write)

    _until_done(lambda: client.start(timeout=5))
    write()
    client.add_listener(after)
    return lambda: client.delete(path)


def consul(service: str, name: str, address: str, port: int, version: str) -> Leave:
    """Register with a check that Consul makes."""
    from consul import Check, Consul

    agent = Consul("consul", 8500).agent.service
    check = Check.tcp(address, port, "1s", timeout="1s")
    _until_done(
        lambda: agent.register(
            service, service_id=name, address=address, port=port, meta={"version": version}, check=check
        )
    )
    return lambda: agent.maintenance(name, enable="true", reason="drained")


def eureka(service: str, name: str, address: str, port: int, version: str) -> Leave:
    """Register, and send heartbeats."""
    from py_eureka_client import eureka_client

    client = eureka_client.EurekaClient(
        eureka_server="http://eureka:8761/eureka",
        app_name=service,
        instance_id=name,
        instance_host=address,
        instance_ip=address,
        instance_port=port,
        metadata={"version": version},
        renewal_interval_in_secs=2,
        duration_in_secs=6,
        should_discover=False,
    )
    import asyncio
    import threading

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    _until_done(lambda: asyncio.run_coroutine_threadsafe(client.start(), loop).result(30))
    return lambda: asyncio.run_coroutine_threadsafe(client.status_update("OUT_OF_SERVICE"), loop).result(10)


def none(*_: object) -> Leave:
    """Do nothing: somebody wrote it into an inventory."""
    return lambda: None


REGISTRIES: Mapping[str, Register] = {
    "zookeeper": zookeeper,
    "consul": consul,
    "eureka": eureka,
    "none": none,
}


def _until_done(work: Callable[[], object]) -> None:
    while True:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the registry may still be starting, in whatever way it says so
            print(json.dumps({"waiting": f"{type(error).__name__}: {error}"[:200]}))
            time.sleep(_PAUSE)
        else:
            return
