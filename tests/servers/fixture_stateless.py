"""A server that speaks revision 2026-07-28 and refuses `initialize` (-32022): `fixture_stateless.py [--http PORT]`."""

import sys

from fixture import sdk2


def main(arguments: list[str]) -> None:
    sdk2.run(arguments, is_stateless_only=True)


if __name__ == "__main__":
    main(sys.argv[1:])
