"""A gRPC service that answers with its name and registers itself as its kind of program would.

SIGUSR1 drains it: it leaves the registry and goes on answering.
"""

import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from registries import REGISTRIES

METHOD = "/mesh.Echo/Who"
PORT = 9090


def main() -> None:
    """Serve and be registered until told to end."""
    name, service = os.environ["NAME"], os.environ["SERVICE"]
    server = _serve(name)
    address = socket.gethostbyname(socket.gethostname())
    drain, stop = threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: drain.set())
    signal.signal(signal.SIGTERM, lambda *_: (drain.set(), stop.set()))
    leave = REGISTRIES[os.environ["REGISTRY"]](service, name, address, PORT, os.environ["VERSION"])
    print(json.dumps({"registered": service, "as": name, "at": f"{address}:{PORT}"}))
    drain.wait()
    leave()
    print(json.dumps({"left": service, "as": name}))
    stop.wait()
    server.stop(grace=1).wait()


def _serve(name: str) -> grpc.Server:
    service, method = METHOD.strip("/").split("/")
    answer = grpc.unary_unary_rpc_method_handler(lambda _request, _context: name.encode())
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: answer}),))
    server.add_insecure_port(f"0.0.0.0:{PORT}")
    server.start()
    return server


if __name__ == "__main__":
    main()
