"""Calls services of the mesh at a steady rate, and prints every two seconds who answered."""

import json
import os
import sys
import threading
import time
from collections import Counter

METHOD = "/mesh.Echo/Who"
RATE = 20.0
EVERY = 2.0
_NODE = {
    "id": "sidecar~127.0.0.78~client.default~default.svc.cluster.local",
    "metadata": {
        "GENERATOR": "grpc",
        "NAMESPACE": "default",
        "CLUSTER_ID": "Kubernetes",
        "ISTIO_VERSION": "1.31.0",
    },
}


def main(targets: list[str]) -> None:
    """Call the targets for ever."""
    server = {
        "server_uri": os.environ["ISTIOD"],
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    # gRPC reads this when it is imported.
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps({"xds_servers": [server], "node": _NODE})
    answers: dict[str, Counter[str]] = {target: Counter() for target in targets}
    for target in targets:
        threading.Thread(target=_call, args=(target, answers[target]), daemon=True).start()
    while True:
        time.sleep(EVERY)
        for target in targets:
            seen = Counter(answers[target])
            answers[target].subtract(seen)
            told = "  ".join(f"{who}={count}" for who, count in sorted(seen.items()) if count > 0)
            print(f"{target:<28} {told or 'no answer'}", flush=True)


def _call(target: str, answers: Counter[str]) -> None:
    import grpc

    options = [("grpc.max_reconnect_backoff_ms", 1000)]
    call = grpc.insecure_channel(f"xds:///{target}", options=options).unary_unary(METHOD)
    while True:
        started = time.monotonic()
        try:
            answers[call(b"", timeout=2).decode()] += 1
        except grpc.RpcError as error:
            answers[f"ERROR:{error.code().name}"] += 1
        time.sleep(max(0.0, started + 1 / RATE - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1:])
