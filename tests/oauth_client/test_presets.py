from fluidmcp.oauth_client.presets import preset_params, scope_separator


def test_known_providers_get_what_they_need_and_others_nothing() -> None:
    google = preset_params("https://accounts.google.com/o/oauth2/v2/auth")
    assert google == {"access_type": "offline", "prompt": "consent"}
    atlassian = preset_params("https://auth.atlassian.com/authorize")
    assert atlassian == {"audience": "api.atlassian.com", "prompt": "consent"}
    assert preset_params("https://accounts.google.com.evil.example/auth") == {}
    assert preset_params("https://as.example/accounts.google.com") == {}


def test_scopes_are_joined_as_the_provider_wants_unless_the_block_says_otherwise() -> None:
    assert scope_separator("https://as.example/authorize", " ") == " "
    assert scope_separator("https://linear.app/oauth/authorize", " ") == ","
    assert scope_separator("https://linear.app/oauth/authorize", "+") == "+"
