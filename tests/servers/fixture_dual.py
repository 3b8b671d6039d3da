"""A server that speaks every revision of MCP, on the SDK 2.x: `fixture_dual.py [--http PORT]`.

Like every server on that SDK it serves one era per process on stdio: that of the first request it hears.
"""

import sys

from fixture import sdk2


def main(arguments: list[str]) -> None:
    sdk2.run(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
