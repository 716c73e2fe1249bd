"""The command lines of consul2istio (2023-10) and dubbo2istio (2022-09). Pure.

Both write CRDs; here the resources are served to istiod unless `outputs.kubernetes` says otherwise.
"""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from meshbridge.bridge.migrate.draft import Draft, split_host

_CRDS = "the original writes CRDs; this serves them to istiod, see outputs.kubernetes for writing"


_AERAKI = {
    "namespace": "{metadata.aeraki_meta_app_namespace|dubbo}",
    "service_account": "{metadata.aeraki_meta_app_service_account}",
    "locality": "{metadata.aeraki_meta_locality}",
    "labels": {"version": "{metadata.aeraki_meta_app_version}"},
}
"""What dubbo2istio takes from parameters of provider URLs."""


class _Flags(argparse.ArgumentParser):
    """Go's flags: -name value, -name=value, --name=value."""

    def __init__(self, program: str) -> None:
        super().__init__(prog=program, add_help=False, allow_abbrev=False)

    def flag(self, name: str, default: str = "") -> None:
        self.add_argument(f"-{name}", f"--{name}", dest=name, default=default)

    @override
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}")


def from_consul2istio(arguments: Sequence[str]) -> Draft:
    """Return the draft for `consul2istio -consulAddress ADDRESS -namespace NAME -fqdn DOMAIN`.

    Raises:
        ValueError: there is a flag that it doesn't have.
    """
    flags = _Flags("consul2istio")
    flags.flag("consulAddress", "localhost:8500")
    flags.flag("namespace", "istio-system")
    flags.flag("fqdn")
    flags.add_argument(
        "-enableDefaultPort",
        "--enableDefaultPort",
        dest="default_port",
        nargs="?",
        const="true",
        default="true",
    )
    found = flags.parse_args(list(arguments))
    draft = Draft("the flags of consul2istio")
    scheme = "https" if found.consulAddress.startswith("https://") else "http"
    draft.sources.append(
        {"name": "consul", "kind": "consul", "address": f"{scheme}://{split_host(found.consulAddress, 8500)}"}
    )
    draft.defaults = {"namespace": found.namespace, **_consul_host(found.fqdn)}
    draft.notes.append(_CRDS)
    if not found.fqdn:
        draft.notes.append(
            "hosts are bare service names, as without -fqdn; a domain would keep them from Kubernetes' own"
        )
    if found.default_port.lower() in {"true", "t", "1"}:
        draft.notes.append(
            "-enableDefaultPort: no port 80 is added to every service; a rule with set.ports renumbers one"
        )
    return draft


def _consul_host(fqdn: str) -> dict[str, str]:
    return {"host": f"{{service}}.{fqdn.strip('.')}"} if fqdn else {"preset": "consul2istio"}


def from_dubbo2istio(arguments: Sequence[str]) -> Draft:
    """Return the draft for `dubbo2istio -type zookeeper -name NAME -addr HOST:PORT`.

    Raises:
        ValueError: there is a flag that it doesn't have.
    """
    flags = _Flags("dubbo2istio")
    flags.flag("type", "zookeeper")
    flags.flag("name", "default")
    flags.flag("addr")
    found = flags.parse_args(list(arguments))
    draft = Draft("the flags of dubbo2istio")
    if found.type != "zookeeper":
        draft.notes.append(f"there is no source for the registry type {found.type}")
        return draft
    if not found.addr:
        raise ValueError("dubbo2istio: -addr is missing")
    hosts = ",".join(split_host(address, 2181) for address in found.addr.split(","))
    draft.sources.append(
        {
            "name": draft.unique_name(found.name),
            "kind": "zookeeper",
            "hosts": hosts,
            "roots": [{"path": "/dubbo", "layout": "dubbo"}],
        }
    )
    draft.defaults = {"preset": "dubbo2istio"}
    draft.rules = [{"name": "what providers say for Aeraki", "set": _AERAKI}]
    draft.notes.append(
        "providers without aeraki_meta_app_namespace, which the original leaves out, get namespace dubbo"
    )
    draft.notes.append(_CRDS)
    return draft
