"""Which variables, headers, options and parameters hold secrets, by their names."""

import pytest

from fluidmcp.config.variables import sounds_secret

SECRETS = """
    GITHUB_TOKEN apiKey api-key X-API-Key DB_PASSWORD DB_PASS PGPASSWORD MYSQL_PWD GH_PAT PAT PASSPHRASE passphrase
    Cookie MYSECRET OPENAIKEY APIKEY2 API_KEY_2 AUTHTOKEN SESSION SESSION_ID sessionid TOKEN_ID AWS_ACCESS_KEY_ID
    SIGNING K_SIGNING_KEY PRIVATE PRIVATE_PEM SENTRY_DSN DSN DATABASE_URL DATABASEURL DB_URI REDIS_URL MONGODB_URI
    CONNECTION_STRING AZURE_STORAGE_CONNECTION_STRING connectionString SLACK_WEBHOOK_URL WEBHOOK JWT --password
    GOOGLE_CREDENTIALS Authorization Proxy-Authorization X-Auth HMAC_SALT WALLET_SEED
""".split()
OTHERS = """
    PATH KEYBOARD author MAX_TOKENS CLIENT_ID API_KEY_FILE AUTH_TYPE PATTERN MONKEY PASSENGER SESSIONLESS COMPASS
    TOKEN_ENDPOINT BASE_URL API_URL STRING_URL SESSION_TIMEOUT DB_HOST DB_NAME DB_USER LOG_LEVEL PORT region Accept
    SPATIAL DESIGNING
""".split()


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets(name: str):
    assert sounds_secret(name)


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_other_things(name: str):
    assert not sounds_secret(name)
