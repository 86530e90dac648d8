"""Superset's settings: SUPERSET_CONFIG_PATH names this file. Run by Superset's own Python.

    PBAL_SUPERSET_SECRET      the file of the key that signs sessions and seals passwords
    PBAL_SUPERSET_METADATA    where Superset keeps dashboards and users, as SQLAlchemy's URL

What is not here is Superset's default.
"""

import os
import time
from pathlib import Path

# "Now" in a chart is the database's.
os.environ["TZ"] = "UTC"
time.tzset()

SECRET_KEY = Path(os.environ["PBAL_SUPERSET_SECRET"]).read_text(encoding="utf-8").strip()
SQLALCHEMY_DATABASE_URI = os.environ["PBAL_SUPERSET_METADATA"]
# The rule that limits people to their areas asks who they are; without this its query fails.
FEATURE_FLAGS = {"ENABLE_TEMPLATE_PROCESSING": True}
# Pages load from their own server alone: no maps, no fonts, no word to Superset's makers.
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,  # that is the balancer's
    "session_cookie_secure": False,
}
