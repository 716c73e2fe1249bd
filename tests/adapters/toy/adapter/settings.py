"""Configuration of a toy source."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.schemas.settings import Duration


class ToyConfig(AdapterConfig):
    """A server that lists all services, with their instances, in one JSON document."""

    unessential = AdapterConfig.unessential | {"refresh", "timeout"}
    kind: Literal["toy"] = "toy"
    """Kind of the source: `toy`."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$", repr=False)]
    """Address of the document, http:// or https://, without user and password."""
    refresh: Duration = 5.0
    """Seconds between two reads. Default: 5s, since a read is one small request."""
    timeout: Duration = 5.0
    """Seconds a read may take. Default: 5s."""

    @override
    def build(self, context: AdapterContext) -> Adapter:
        from meshbridge.adapters.toy.adapter import ToyAdapter

        return ToyAdapter(self, context)
