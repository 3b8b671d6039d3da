"""The official TypeScript client works against reference servers behind the gateway."""

from pathlib import Path

import pytest

from tests.acceptance.harness import start_fluidmcp
from tests.clients.drivers import talk_with_typescript_sdk
from tests.clients.servers import write_reference_servers


@pytest.mark.needs("node", "server-everything", "typescript-sdk")
@pytest.mark.promise(70, 103, 106)
async def test_the_typescript_client_calls_tools_of_a_python_server_and_of_a_node_server(tmp_path: Path):
    config = write_reference_servers(tmp_path)
    async with start_fluidmcp("run", str(config), "--start-server", cwd=tmp_path) as gateway:
        time = await talk_with_typescript_sdk(
            f"{gateway.url}/time/mcp",
            "convert_time",
            {"source_timezone": "Europe/Paris", "time": "16:30", "target_timezone": "UTC"},
        )
        assert {"get_current_time", "convert_time"} <= set(time.tools)
        assert not time.is_error
        assert "16:30" in time.text

        everything = await talk_with_typescript_sdk(f"{gateway.url}/everything/mcp", "echo", {"message": "Grüße, 世界"})
        assert {"echo", "get-sum"} <= set(everything.tools)
        assert everything.text == "Echo: Grüße, 世界"
        assert not everything.is_error
