"""Which program of an npm package runs, by the `bin` of its package.json. Pure."""


def choose_program(package: str, bins: object) -> str | None:
    """The program that `npx PACKAGE` runs, by the `bin` of its package.json; None where npx refuses to choose.

    The only one, or several names of one file; else the one that is called as the package is, without its scope.
    """
    own_name = package.rpartition("/")[2]
    if isinstance(bins, str):
        return own_name
    if not isinstance(bins, dict) or not bins:
        return None
    names = [str(name) for name in bins]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    files = {str(file) for file in bins.values()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if len(files) == 1:
        return names[0]
    return own_name if own_name in names else None
