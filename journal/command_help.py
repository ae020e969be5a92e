"""What the help of each command says beyond its options: an example, what is printed, the exit codes."""

from dataclasses import dataclass

_REFUSED, _DAMAGED = "2 refused", "3 the journal is damaged"


@dataclass(frozen=True)
class More:
    """`says`: what comes on standard output; sentences about the work itself come on standard error."""

    example: str
    says: str
    codes: str


BY_COMMAND = {
    "init": More(
        "init",
        "Says on standard error that the journal is ready: something is written to it, and taken back.\n"
        "Before it works for long on a large one, it says at what.",
        f"0 the journal is ready, {_REFUSED}",
    ),
    "checkpoint": More(
        "checkpoint --key journal-key.pem --out checkpoints/",
        "Says on standard error which file holds it. FOLDER/ with a slash at its end is made if it is not\n"
        "there, and each checkpoint gets a name in it. Without the slash it is a new file in a folder.",
        f"0 the checkpoint is on the disk, {_REFUSED}",
    ),
    "verify": More(
        "verify --checkpoint checkpoints/ --public-key journal-public.pem",
        "Prints what was looked at, how far the newest checkpoint vouches for it, and without a checkpoint\n"
        "what cannot be excluded. What is found comes on standard error, a line each.",
        f"0 all fits, {_REFUSED}, 3 something was found",
    ),
    "prove": More(
        "prove 01890a5d-ac96-774b-bcce-b302099a8057 --out proof.json",
        "Says on standard error how the file is checked. That of an ID holds what the client has told, and\n"
        "is for the client alone; that of --since holds nothing of any client.",
        f"0 the proof is on the disk, {_REFUSED}",
    ),
    "erase": More(
        'erase --client-reference REF --why "asked for on 2026-11-26"',
        "Says on standard error how many decisions were erased: all, or all but damaged ones, or none.",
        f"0 erased, {_REFUSED}, or nothing was there to erase, 3 all but damaged ones are, or something\n"
        "beside the journal may keep a copy, or the journal is damaged",
    ),
    "retain": More(
        "retain --days 3650",
        "Says on standard error how many decisions were erased, and how many were held and kept.",
        f"0 done, also where nothing was old enough, {_REFUSED}, 3 done but for damaged ones, or something\n"
        "beside the journal may keep a copy, or the journal is damaged",
    ),
    "hold": More(
        'hold --decision 01890a5d-ac96-774b-bcce-b302099a8057 --why "a complaint is before a court"',
        "Says on standard error that the decision is held.",
        f"0 held, {_REFUSED}, or held or erased already",
    ),
    "release": More(
        'release --decision 01890a5d-ac96-774b-bcce-b302099a8057 --why "settled"',
        "Says on standard error that the decision is released.",
        f"0 released, {_REFUSED}, or not held",
    ),
    "list": More(
        "list --since 2026-11-01 --label grey --open",
        "Prints a heading and a line for each decision: aligned columns in a terminal, otherwise columns\n"
        "with a tab between them. No value of a client is among them. Damaged records are named on standard\n"
        "error, and the others are listed.",
        f"0 listed, {_REFUSED}, or no decision has this reference, 3 listed but for damaged ones, or the\n"
        "journal is damaged",
    ),
    "show": More(
        "show 01890a5d-ac96-774b-bcce-b302099a8057 --explain",
        "Prints the whole receipt in French, with what the client has told; of a client the newest first.\n"
        "--explain brings the version that decided out of the registry (MLFLOW_TRACKING_URI), and adds its\n"
        "reasons, warnings and what would change the decision, with the loans that TARIFF_FILE names.\n"
        "What cannot be explained is shown, and standard error says why.",
        f"0 shown, {_REFUSED}, or there is none, or it cannot be explained, 3 changed since, or damaged",
    ),
    "export": More(
        "export --since 2026-11-01 --output receipts.parquet",
        "Says on standard error how many receipts the file holds. It is Parquet, a row for each decision:\n"
        "decision_id, time, model_version, the last review and others, then the features and the outputs.\n"
        "Damaged receipts are named on standard error, and the others are in the file.",
        f"0 the file is whole, {_REFUSED}, 3 it is but for damaged ones, or the journal is damaged",
    ),
    "replay": More(
        "replay --since 2026-11-01 --sample 1000",
        "Prints how many decisions are the same in every bit. Those that differ, are damaged, or have a\n"
        "version that cannot be loaded come on standard error, named and counted.",
        f"0 all are the same, {_REFUSED}, 3 some are not",
    ),
}


def epilog(command: str) -> str:
    more = BY_COMMAND[command]
    example = f"Example: python -m journal {more.example}"
    codes = more.codes if "3 " in more.codes else f"{more.codes}, {_DAMAGED}"
    return f"{more.says}\n\n{example}\nExit codes: {codes}, 130 interrupted."
