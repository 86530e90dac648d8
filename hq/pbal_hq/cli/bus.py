"""`pbal-hq bus`: the bus over Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pbal_hq import kafkabus
from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json
from pbal_hq.config import load
from pbal_hq.errors import ConfigError, NothingToDo
from pbal_hq.schemas import schemas

app = group("The bus over Kafka. Example: pbal-hq bus set-up --password-file admin.password")


@app.command("set-up")
def set_up(
    password_file: Annotated[Path, typer.Option(help="Holds the administrator's password.")],
    user: Annotated[str, typer.Option(help="Who may make topics and rules.")] = "admin",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Make the topics that are missing, and say who may read and write them.

    Example: pbal-hq bus set-up --password-file admin.password
    """
    loaded = load(config)
    if loaded.bus.kind != "kafka":
        raise ConfigError("bus.kind is file, which needs no setting up")
    settings = kafkabus.settings(loaded, user, password_file)
    from pbal_hq.bus import rights

    made = rights.set_up(settings, loaded.bus.kafka)
    if json_:
        print_json({"made": made, "users": rights.users()})
        return
    print(f"topics made: {', '.join(made) or 'none, all are there'}")
    print(f"users that may use them: {', '.join(rights.users())}")


@app.command()
def schema(
    topic: Annotated[str, typer.Argument(help="E.g. hq.summary; without it all of them.")] = "",
) -> None:
    """Print the JSON Schema of what is in a topic; docs/schemas has them as files.

    Example: pbal-hq bus schema hq.summary
    """
    found = schemas()
    if not topic:
        print_json(found)
    elif topic in found:
        print_json(found[topic])
    else:
        raise NothingToDo(f"{topic} has no schema; these have: {', '.join(found)}")
