"""Our own files, odd values and what is wrong, through the real executable: what do their servers get?"""

from pathlib import Path

from tests.configurations import corpus


@corpus.parametrize("other")
async def test_what_the_servers_of_a_file_get(case: corpus.Case, tmp_path: Path):
    await corpus.check(case, tmp_path)
