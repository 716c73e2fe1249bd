"""Configuration of an inventory source."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.adapters.inventory.formats.options import AnsibleNames, FormatOptions, LabelNames
from meshbridge.adapters.inventory.formats.record import Format
from meshbridge.schemas.settings import ClientTls, Duration

Url = Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]
"""An http:// or https:// address without user and password in it: those go into `token_file`."""

Argv = Annotated[list[str], Field(min_length=1)]


class InventoryConfig(AdapterConfig):
    """Machines that are listed in files, at URLs, or by a command."""

    unessential = AdapterConfig.unessential | {
        *("tls", "token_file", "refresh", "timeout", "max_size", "settle", "rescan"),
    }
    kind: Literal["inventory"] = "inventory"
    """Kind of the source: `inventory`."""
    files: list[str] = Field(default_factory=list)
    """Files, globs, or directories (their *.yaml, *.yml, *.json and *.csv). Watched. Default: none."""
    urls: list[Url] = Field(default_factory=list, repr=False)
    """HTTP(S) addresses of documents, read every `refresh`. Default: none."""
    commands: list[Argv] = Field(default_factory=list, repr=False)
    """Commands as lists of words, run every `refresh` without a shell; their output is a document, e.g.
    `[ansible-inventory, -i, hosts.ini, --list]`. Default: none."""
    format: Format = Format.AUTO
    """How the documents are written: auto, istio, meshbridge, csv, file_sd (also for http_sd) or ansible.
    Default: auto, by content; set it where a wrong guess would hurt."""
    tls: ClientTls = ClientTls()
    """TLS towards the URLs. Default: the system's authorities, no client certificate."""
    token_file: str = ""
    """File with a bearer token for the URLs, read again for every request, so that it may rotate.
    Default: none."""
    refresh: Duration = 60.0
    """Seconds between two reads of a URL or runs of a command. Default: 60s, as Prometheus does."""
    timeout: Duration = 10.0
    """Seconds a URL or command may take. Default: 10s."""
    max_size: int = Field(default=64 * 1024 * 1024, gt=0)
    """Largest document in bytes, unpacked; a larger one is refused unread. Default: 64 MiB, about
    500,000 instances."""
    settle: Duration = 1.0
    """Seconds a file must be gone before its records leave. Default: 1s, so that a file which is replaced by
    removing and writing it does not flap."""
    rescan: Duration = 300.0
    """Seconds between two full reads of all files, for changes the file system did not tell. Default: 5m."""
    labels_map: LabelNames = LabelNames()
    """Which labels of file_sd and http_sd documents name the service, version, zone, protocol and weight."""
    ansible: AnsibleNames = AnsibleNames()
    """Which Ansible groups are services, and which variables hold port, protocol, address and so on."""

    @model_validator(mode="after")
    def _has_documents(self) -> Self:
        if not (self.files or self.urls or self.commands):
            raise ValueError("an inventory needs at least one of files, urls and commands")
        return self

    @property
    def options(self) -> FormatOptions:
        """What the formats need to know."""
        return FormatOptions(labels_map=self.labels_map, ansible=self.ansible)

    @override
    def build(self, context: AdapterContext) -> Adapter:
        from meshbridge.adapters.inventory.adapter import InventoryAdapter

        return InventoryAdapter(self, context)
