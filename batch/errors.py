"""Why nothing was scored: one sentence each, with the way out, and no client's value."""


class Refused(Exception):
    """The input, the output or the model is not what this command can use. The message is a sentence."""
