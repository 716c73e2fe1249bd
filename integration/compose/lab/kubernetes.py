"""The stand-in for an API server that the tests use, on a fixed port."""

import asyncio
import sys

sys.path.insert(0, "/lab-istiod")


async def main() -> None:
    """Serve until ended."""
    from api_server import api_server

    async with api_server("0.0.0.0", 8001):
        await asyncio.Event().wait()


asyncio.run(main())
