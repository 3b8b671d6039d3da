"""Which way common requests take in this run: FMCP_FRONT=off runs the same tests without the front (gateway/front)."""

import os

HAS_FRONT = os.environ.get("FMCP_FRONT", "on") != "off"
