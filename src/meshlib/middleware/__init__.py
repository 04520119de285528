"""The hooks: grpcio and aiohttp, clients and servers, on one engine."""
