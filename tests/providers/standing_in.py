"""Stands in for all providers at once: a server on loopback that gets what goes to their public addresses."""

from collections.abc import Mapping

from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher


class StandInFetcher(Fetcher):
    """Calls of `https://HOST/PATH` go to `/HOST/PATH` of a server on loopback, over real HTTP."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FetchAnswer:
        return await super().get(self._moved(url), headers=headers)

    async def post_form(
        self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> FetchAnswer:
        return await super().post_form(self._moved(url), form, headers=headers)

    async def post_json(
        self, url: str, document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
    ) -> FetchAnswer:
        return await super().post_json(self._moved(url), document, headers=headers)

    async def look(self, url: str) -> FetchAnswer:
        return await super().look(self._moved(url))

    def _moved(self, url: str) -> str:
        assert url.startswith("https://"), url
        return f"{self._address}/{url.removeprefix('https://')}"
