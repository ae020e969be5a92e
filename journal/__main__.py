"""`python -m journal`: make the journal, verify it, prove, read and erase what it holds."""

from mlflow_model import command

if __name__ == "__main__":
    command.begin("sqlalchemy", "alembic", "cryptography", "numpy", "pyarrow", "tqdm")

from collections.abc import Sequence

from journal import command_options, commands
from journal.errors import Damaged, JournalError
from mlflow_model.bundle.signing import BadKey

_COMMANDS = {
    "init": commands.init,
    "checkpoint": commands.checkpoint,
    "verify": commands.verify,
    "prove": commands.prove,
    "erase": commands.erase,
    "retain": commands.retain,
    "hold": commands.hold,
    "release": commands.release,
    "list": commands.list_,
    "show": commands.show,
    "export": commands.export_,
    "replay": commands.replay_,
}


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; the help explains each."""
    options = command_options.parser(_COMMANDS).parse_args(given)
    try:
        return int(options.run(options))
    except Damaged as error:
        commands.say(f"Found: {error}")
        return commands.FOUND
    except (JournalError, BadKey) as error:
        commands.say(f"Refused: {error}")
        return commands.REFUSED


if __name__ == "__main__":
    command.run(main)
