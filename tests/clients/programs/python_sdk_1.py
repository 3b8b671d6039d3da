"""The Python SDK 1.x (handshake era). It cancels no call by itself: a program sends the notification."""
# pyright: basic, reportAttributeAccessIssue=false, reportCallIssue=false, reportAssignmentType=false

from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from steps import ASK, ECHO, NAME, REPORT_PROGRESS, TEXT, WAIT, Json, cancel_while_running, forgive_close, run, take


async def answer(context: object, params: object) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": NAME})


async def talk(url: str, _given: Json) -> Json:
    noted: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        noted.append(progress)

    seen: Json = {}
    with forgive_close(seen):
        async with streamable_http_client(url) as (reading, writing, _):
            async with ClientSession(reading, writing, elicitation_callback=answer) as session:
                greeting = await session.initialize()
                tools = await session.list_tools()
                echo = await take(session.call_tool(ECHO, {"text": TEXT}))
                await take(session.call_tool(REPORT_PROGRESS, progress_callback=note))
                asked = await take(session.call_tool(ASK, {}))
                number = session._request_id

                async def cancel() -> None:
                    params = types.CancelledNotificationParams(requestId=number)
                    notification = types.CancelledNotification(params=params)
                    await session.send_notification(types.ClientNotification(notification))

                cancelled = await take(cancel_while_running(lambda given: session.call_tool(WAIT, given), cancel))
                seen |= {
                    "protocol": greeting.protocolVersion,
                    "tools": len(tools.tools),
                    "echo": text_of(echo),
                    "progress": len(noted),
                    "elicitation": text_of(asked),
                    "cancelled": cancelled,
                }
    return seen


def text_of(answered: types.CallToolResult | str) -> str:
    return answered if isinstance(answered, str) else answered.content[0].text


if __name__ == "__main__":
    run(talk)
