"""Makes Superset's own database and its first user. Run by Superset's own Python:

    python superset_prepare.py USER PASSWORD_FILE

These are three commands of Superset's, in one process: each would import for seconds of its own.
"""

import sys
from pathlib import Path

from flask.cli import ScriptInfo
from superset.app import create_app
from superset.cli.main import superset
from superset.extensions import appbuilder


def main(user: str, password_file: str) -> None:
    """Do it; again is harmless."""
    application = create_app()
    info = ScriptInfo(create_app=lambda: application)
    superset.main(["db", "upgrade"], obj=info, standalone_mode=False)
    superset.main(["init"], obj=info, standalone_mode=False)
    with application.app_context():
        security = appbuilder.sm
        if security.find_user(user) is None:
            password = Path(password_file).read_text(encoding="utf-8")
            role = security.find_role("Admin")
            if not security.add_user(user, user, user, f"{user}@localhost", role, password):
                sys.exit(f"the user {user} could not be made")


if __name__ == "__main__":
    main(*sys.argv[1:])
