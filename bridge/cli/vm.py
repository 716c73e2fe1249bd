"""`meshbridge vm-bundle`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import AdminConfig, AdminUrl, CaFile, TokenFile, connect
from meshbridge.bridge.cli.output import talk
from meshbridge.bridge.cli.remote import Remote

if TYPE_CHECKING:
    from meshbridge.bridge.operate.vm_files import Site


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "vm-bundle",
        epilog="\b\nExamples:\n"
        "  meshbridge get workloadgroups\n"
        "  meshbridge vm-bundle shop -d shop-vm --ingress-ip 192.0.2.10\n"
        "  meshbridge vm-bundle shop -n legacy -d shop-vm --cluster east --network vm-net\n"
        "\nThe root certificate and a token have to be added: only the control plane issues them. "
        "README.txt among the files has the commands.",
    )(vm_bundle)


def vm_bundle(  # noqa: PLR0913, PLR0917 - every parameter is an option of the command
    name: Annotated[str, typer.Argument(help="Name of the workload group.", metavar="NAME")],
    directory: Annotated[
        Path,
        typer.Option("--directory", "-d", metavar="DIR", help="Where to write the files; made if missing."),
    ],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only a group of this namespace.")] = "",
    ingress_ip: Annotated[
        str,
        typer.Option("--ingress-ip", metavar="IP", help="Where the VM reaches istiod.  [default: by DNS]"),
    ] = "",
    cluster: Annotated[str, typer.Option("--cluster", help="The mesh's name of the cluster.")] = "Kubernetes",
    mesh_id: Annotated[str, typer.Option("--mesh-id", help="The mesh's id.")] = "",
    network: Annotated[
        str, typer.Option("--network", help="Istio network of the VM.  [default: the group's]")
    ] = "",
    trust_domain: Annotated[str, typer.Option("--trust-domain", help="The trust domain.")] = "cluster.local",
    revision: Annotated[str, typer.Option("--revision", help="Revision of the control plane.")] = "",
    istio_namespace: Annotated[
        str, typer.Option("--istio-namespace", help="Namespace of the control plane.")
    ] = "istio-system",
    auto_register: Annotated[
        bool,
        typer.Option(
            "--auto-register", help="Let istiod make the WorkloadEntry; the group has to be in Kubernetes."
        ),
    ] = False,
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Write the files that start a VM's sidecar.

    They are made of the WorkloadGroup that the VM belongs to.
    """
    from meshbridge.bridge.operate.vm_files import Site, vm_files

    group = _group(connect(admin, config, token_file, ca), name, namespace)
    if network:
        group = _with_network(group, network)
    site = Site(
        istio_namespace=istio_namespace,
        revision=revision,
        cluster=cluster,
        mesh_id=mesh_id,
        trust_domain=trust_domain,
        ingress_ip=_address(ingress_ip),
        auto_register=auto_register,
    )
    _write(directory, vm_files(group, site))
    _remark(directory, site)


def _group(remote: Remote, name: str, namespace: str) -> dict[str, Any]:
    found = remote.items("workloadgroups", {"name": name, "namespace": namespace})["items"]
    if not found:
        known = [item["object"]["metadata"]["name"] for item in remote.items("workloadgroups", {})["items"]]
        from meshbridge.bridge.wording import did_you_mean, listing

        there = (
            f"there are {listing(known)}"
            if known
            else "there are none; defaults.endpoints: workload_group makes them"
        )
        raise CommandError(f'workload group "{name}" not found{did_you_mean(name, known)} ({there})')
    if len(found) > 1:
        places = ", ".join(item["object"]["metadata"]["namespace"] for item in found)
        raise CommandError(f'workload group "{name}" is in {places}; say one with -n', ExitCode.USAGE)
    group: dict[str, Any] = found[0]["object"]
    return group


def _with_network(group: dict[str, Any], network: str) -> dict[str, Any]:
    spec = group["spec"]
    return {**group, "spec": {**spec, "template": {**spec.get("template", {}), "network": network}}}


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise CommandError(f"--ingress-ip {text} is not an IP address", ExitCode.USAGE) from None


def _write(directory: Path, files: dict[str, str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{error.filename or directory}: {error.strerror}") from error


def _remark(directory: Path, site: "Site") -> None:
    from meshbridge.bridge.operate.vm_files import MISSING

    output.print_lines([str(directory)])
    talk(f"{' and '.join(MISSING)} are to be added; {directory / 'README.txt'} says how")
    if not site.ingress_ip:
        talk(f"hosts is empty: the VM has to resolve {site.istiod}, or give --ingress-ip")
