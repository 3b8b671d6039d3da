"""A server that speaks the revisions up to 2025-11-25, on the SDK 1.x: `fixture_handshake.py [--http PORT]`.

It runs in the environment of its own (.parts/mcp1), not in that of the tests. What it wants to know it asks in the
middle of a call, with requests of its own; the id of such a request is the name of the question, because that is the
only place where a gateway can learn the name that a client of the stateless era expects.
"""
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

import asyncio
import sys

import anyio
import mcp.types as types
import uvicorn
from fixture import calls, catalogue
from fixture.calls import Fixture, Questions, Refused
from fixture.catalogue import Json
from mcp.server.fastmcp.server import StreamableHTTPASGIApp
from mcp.server.lowlevel.server import NotificationOptions, Server, request_ctx
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import McpError
from mcp.shared.message import ServerMessageMetadata
from starlette.applications import Starlette
from starlette.routing import Route

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

RESULT_OF = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}
CHANGES = {
    "tools": types.ToolListChangedNotification,
    "prompts": types.PromptListChangedNotification,
    "resources": types.ResourceListChangedNotification,
}


class QuestionId(str):
    """The id of a request to the client: the SDK counts on from it, and takes what comes out for the next one."""

    def __add__(self, other: object) -> int:
        return 0


class Sdk1Call:
    """A `Call` of the handshake era."""

    def __init__(self, server: "HandshakeServer", arguments: Json | None) -> None:
        self._server = server
        self._context = request_ctx.get()
        self._session = self._context.session
        self.arguments: Json = dict(arguments or {})

    @property
    def capabilities(self) -> Json:
        declared = self._session.client_params
        return {} if declared is None else declared.capabilities.model_dump(by_alias=True, exclude_none=True)

    async def report_progress(self, done: float, total: float) -> None:
        token = self._context.meta.progressToken if self._context.meta else None
        if token is not None:
            request_id = str(self._context.request_id)
            await self._session.send_progress_notification(token, done, total, related_request_id=request_id)

    async def log(self, level: str, text: str) -> None:
        if LEVELS.index(level) >= LEVELS.index(self._server.level):
            await self._session.send_log_message(level, text, related_request_id=self._context.request_id)

    async def ask(self, questions: Questions, *, sealed: bool = False) -> dict[str, Json]:
        answers = await asyncio.gather(*(self._ask_one(name, question) for name, question in questions.items()))
        return dict(zip(questions, answers, strict=True))

    async def announce(self, change: str) -> None:
        if change in CHANGES:
            await self._session.send_notification(types.ServerNotification(CHANGES[change]()))
        elif change in self._server.watched:
            await self._session.send_resource_updated(change)

    async def _ask_one(self, name: str, question: Json) -> Json:
        metadata = ServerMessageMetadata(related_request_id=self._context.request_id)
        request = types.ServerRequest.model_validate(question)
        question_id = self._server.take_question_id(name)
        # The SDK reads the id before it gives way for the first time.
        self._session._request_id = QuestionId(question_id)
        try:
            result = await self._session.send_request(request, RESULT_OF[question["method"]], metadata=metadata)
        finally:
            self._server.open_questions.discard(question_id)
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)


class HandshakeServer(Server):
    """Its lists change, its resources can be watched."""

    def __init__(self) -> None:
        super().__init__(catalogue.NAME, version=catalogue.VERSION, instructions=catalogue.INSTRUCTIONS)
        self.fixture = Fixture()
        self.level = "debug"
        self.watched: set[str] = set()
        self.open_questions: set[str] = set()
        # Below the decorators of the SDK, which would validate arguments and turn every failure into a result.
        self.request_handlers |= {
            types.ListToolsRequest: self._list(types.ListToolsResult, tools=catalogue.TOOLS),
            types.ListPromptsRequest: self._list(types.ListPromptsResult, prompts=catalogue.PROMPTS),
            types.ListResourcesRequest: self._list(types.ListResourcesResult, resources=catalogue.RESOURCES),
            types.ListResourceTemplatesRequest: self._list(
                types.ListResourceTemplatesResult, resourceTemplates=catalogue.TEMPLATES
            ),
            types.CallToolRequest: self._call_tool,
            types.GetPromptRequest: self._get_prompt,
            types.ReadResourceRequest: self._read_resource,
            types.CompleteRequest: self._complete,
            types.SetLevelRequest: self._set_level,
            types.SubscribeRequest: self._subscribe,
            types.UnsubscribeRequest: self._unsubscribe,
        }

    def create_initialization_options(self, notification_options=None, experimental_capabilities=None):
        changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        options = super().create_initialization_options(changes, experimental_capabilities)
        options.capabilities.resources = types.ResourcesCapability(subscribe=True, listChanged=True)
        return options

    def take_question_id(self, name: str) -> str:
        """The name, with a number where another call asks the same at the moment."""
        names = (name, *(f"{name}-{number}" for number in range(2, len(self.open_questions) + 3)))
        question_id = next(name for name in names if name not in self.open_questions)
        self.open_questions.add(question_id)
        return question_id

    @staticmethod
    def _list(result_type, **members):
        async def handler(request) -> types.ServerResult:
            return make_result(result_type, {key: list(value) for key, value in members.items()})

        return handler

    async def _call_tool(self, request: types.CallToolRequest) -> types.ServerResult:
        call = Sdk1Call(self, request.params.arguments)
        return make_result(types.CallToolResult, await answer(self.fixture.call_tool(request.params.name, call)))

    async def _get_prompt(self, request: types.GetPromptRequest) -> types.ServerResult:
        call = Sdk1Call(self, request.params.arguments)
        return make_result(types.GetPromptResult, await answer(calls.get_prompt(request.params.name, call)))

    async def _read_resource(self, request: types.ReadResourceRequest) -> types.ServerResult:
        uri = str(request.params.uri)
        result = calls.read_resource(uri)
        if result is None:
            raise McpError(types.ErrorData(code=-32002, message="Resource not found", data={"uri": uri}))
        return make_result(types.ReadResourceResult, result)

    async def _complete(self, request: types.CompleteRequest) -> types.ServerResult:
        return make_result(types.CompleteResult, calls.complete(request.params.argument.value))

    async def _set_level(self, request: types.SetLevelRequest) -> types.ServerResult:
        self.level = request.params.level
        return make_result(types.EmptyResult, {})

    async def _subscribe(self, request: types.SubscribeRequest) -> types.ServerResult:
        self.watched.add(str(request.params.uri))
        return make_result(types.EmptyResult, {})

    async def _unsubscribe(self, request: types.UnsubscribeRequest) -> types.ServerResult:
        self.watched.discard(str(request.params.uri))
        return make_result(types.EmptyResult, {})


def make_result(result_type, members: Json) -> types.ServerResult:
    return types.ServerResult(result_type.model_validate(members))


async def answer(result):
    """What the fixture refuses becomes an error of the SDK."""
    try:
        return await result
    except Refused as refused:
        error = types.ErrorData(code=refused.code, message=refused.message, data=refused.data)
        raise McpError(error) from refused


async def serve_stdio() -> None:
    server = HandshakeServer()
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def serve_http(port: int) -> None:
    hosts = ["127.0.0.1:*", "localhost:*", "[::1]:*"]
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts])
    manager = StreamableHTTPSessionManager(HandshakeServer(), security_settings=security)
    routes = [Route("/mcp", endpoint=StreamableHTTPASGIApp(manager))]
    uvicorn.run(Starlette(routes=routes, lifespan=lambda app: manager.run()), port=port, log_level="warning")


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--http"]:
        serve_http(int(arguments[1]))
    else:
        anyio.run(serve_stdio)


if __name__ == "__main__":
    main(sys.argv[1:])
