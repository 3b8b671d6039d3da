"""A token that somebody gives to a command: in a variable that --token-env names, or on standard input."""

from fluidmcp.config.secret import Secret
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import ConfigurationError
from fluidmcp.oauth_client.token_endpoint import MAX_TOKEN_CHARACTERS, is_token_text


def read_token_variable(name: str) -> Secret:
    """The token in the environment variable of that name, without `Bearer`.

    Raises:
        ConfigurationError: it is not set, or what it holds is no token.
    """
    return parse_token(
        read_environment().get(name, ""),
        place=f"in {name}",
        hint=f"Export it, the token alone: export {name}=...",
    )


def parse_token(text: str, *, place: str, hint: str) -> Secret:
    """The token in a text, without `Bearer`; `place` and `hint` are for the error.

    Raises:
        ConfigurationError: there is none. What there is instead is not told.
    """
    text = text.strip()
    if text[:7].lower() == "bearer ":
        text = text[7:].strip()
    if not is_token_text(text):
        raise ConfigurationError(
            f"There is no token {place}.",
            why=f"A token is printable ASCII without spaces, at most {MAX_TOKEN_CHARACTERS} characters.",
            hint=hint,
        )
    return Secret(text)
