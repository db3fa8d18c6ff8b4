"""What is said of an operation that several backends were asked for: nothing where all did it, else one error."""

from collections.abc import Mapping
from typing import TypeAlias

from arriero.errors import ArrieroError, BackendError, BackendRefused, ModelMissing, StoreError

Outcomes: TypeAlias = Mapping[str, ArrieroError | None]
"""By the backend's name, in configuration order; `None`: it did it."""


def failure(verb: str, outcomes: Outcomes) -> ArrieroError | None:
    """The error that names who failed, why, and who did it; `None` where nobody failed.

    `verb` is what was done (`pulled`). A request that all refuse in the same words is refused in these: clients match
    them, and nothing has been done.
    """
    failed = {name: error for name, error in outcomes.items() if error is not None}
    if not failed:
        return None
    errors = list(failed.values())
    said = {(error.status, error.message) for error in errors}
    if len(failed) == len(outcomes) and len(said) == 1 and _is_refusal(errors[0]):
        return errors[0]
    done = [name for name, error in outcomes.items() if error is None]
    first = f"{verb} on {', '.join(done)}" if done else f"{verb} nowhere"
    return BackendError("; ".join([first, *(f"{name}: {reason(name, error)}" for name, error in failed.items())]))


def failure_where_present(verb: str, outcomes: Outcomes, missing: ArrieroError) -> ArrieroError | None:
    """The same for what is done wherever the model is: who does not have it spoils nothing, unless nobody has it, which
    is `missing`.
    """
    present = {name: error for name, error in outcomes.items() if error is None or error.status != 404}
    return failure(verb, present) if present else missing


def _is_refusal(error: ArrieroError) -> bool:
    """Whether it is about the request and not about a backend; 501 is what another arriero without a library says.

    What the engine of this machine says needs no name before it: there is nothing in between.
    """
    ours = not isinstance(error, BackendError) or isinstance(error, StoreError)
    return ours or isinstance(error, BackendRefused | ModelMissing) or error.status == 501


def reason(name: str, error: ArrieroError) -> str:
    """Why it failed, where the backend's name stands before it: the transport's errors begin with that name."""
    return error.message.removeprefix(f"{name} ")
