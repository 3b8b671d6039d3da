"""Arguments in which a value of a person would be executed, and those in which it is a value and nothing else."""

import shlex

import pytest

from fluidmcp.config.filling.executed import is_executed


def find_place(line: str) -> tuple[str, list[str], int]:
    command, *args = shlex.split(line)
    return command, args, next(index for index, arg in enumerate(args) if "@T" in arg)


@pytest.mark.threat("B27")
@pytest.mark.parametrize(
    "line",
    [
        "bash -c @T",
        "bash -cx @T",
        "bash -lc 'server @T'",
        "bash -c -o pipefail @T",
        "bash -c -- @T",
        "bash @T",
        "env -S 'server @T'",
        "env '-Sserver @T'",
        "env -i '--split-string=sh -c @T'",
        "env -S 'bash -c' @T",
        "env PATH=@T server",
        "env A=1 LD_PRELOAD=@T server",
        "env FMCP_X=@T server",
        "env @T=1 server",
        "env A=1 @T",
        "env -C @T server",
        "env A=1 python3 -c @T",
        "npx -c 'server @T'",
        "npx --call=@T",
        "npm exec -c @T",
        "npx -y @T",
        "npx -y server@@T",
        "uvx --from @T server",
        "uv run python -c @T",
        "python -c@T",
        "python3 -Ic @T",
        "python3 -W ignore -c @T",
        "python -m @T",
        "python3 @T",
        "node --eval=@T",
        "node -pe @T",
        "node --import data:text/javascript,@T",
        "node --require ./a.js -e @T",
        "perl -e@T",
        "perl -e 1 -e @T",
        "php -r@T",
        "deno eval @T",
        "nodejs -e @T",
        "tsx -e @T",
        "pwsh -Command @T",
        "awk @T",
        "su ada -c @T",
        "flock /tmp/x -c @T",
        "ssh host 'server @T'",
        "xargs sh -c @T",
        "timeout 5 sh -c @T",
        "docker run image sh -c @T",
    ],
)
def test_b27_what_a_program_would_execute_holds_nothing_of_a_person(line: str) -> None:
    assert is_executed(*find_place(line))


@pytest.mark.parametrize(
    "line",
    [
        "server @T",
        "server -c @T",
        "env API_KEY=@T server",
        "env A=1 node index.js -e @T",
        "sh -c 'exec server \"$1\"' sh @T",
        "bash script.sh -c @T",
        "npx -y mcp-remote https://x --header 'Authorization: Bearer @T'",
        "npx -y @org/server -c @T",
        "npx --yes --package=@org/server server --token @T",
        "npx -y --registry https://r.example @org/server --token @T",
        "npm exec -y server -- --token @T",
        "npm run start -- --token @T",
        "pnpm dlx server --token @T",
        "bunx server -p @T",
        "bun run src/index.ts -e @T",
        "deno run -A npm:server --token @T",
        "uvx --with a --from b server -c @T",
        "uv --directory /srv run server.py -c @T",
        "uv run python server.py -c @T",
        "uv tool run server @T",
        "pipx run server --token @T",
        "python -u server.py -p @T",
        "python3 -I -m server -c @T",
        "python3 -c 'import server' @T",
        "python3 --unknown -W ignore server -c @T",
        "node -e 'require(0)' @T",
        "node --no-warnings build/index.js -r @T",
        "node --max-old-space-size=512 index.js @T",
        "java -jar server.jar -e @T",
        "docker run -i --rm -e TOKEN=@T image",
        "docker run -i mcp/node --token @T",
    ],
)
def test_a_value_for_the_server_itself_may_stand_there(line: str) -> None:
    assert not is_executed(*find_place(line))
