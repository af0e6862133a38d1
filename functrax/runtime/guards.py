"""Transfer guards: what happens when an array moves between the host and devices."""

import logging

import numpy as np

from functrax import errors
from functrax.core.config import config

_DIRECTIONS = {
    "host_to_device": ("from the host to a device", "Put it there with `device_put`."),
    "device_to_device": ("from one device to another", "Put it there with `device_put`."),
    "device_to_host": ("from a device to the host", "Read it with `device_get`."),
}
_OPTIONS = {direction: f"transfer_guard_{direction}" for direction in _DIRECTIONS}


def check_transfer(direction: str, call: str, what: object, *, explicit: bool = False) -> None:
    """Do what the option ``transfer_guard`` of a direction says about a transfer.

    Args:
        direction: "host_to_device", "device_to_device" or "device_to_host".
        call: the user's function, for messages.
        what: what moves: an array, or its type.
        explicit: whether the user asked for it, by `device_put` or `device_get`.

    Raises:
        TransferError: if the option forbids it.
    """
    level = getattr(config, _OPTIONS[direction]) or "allow"
    if level == "allow" or (explicit and not level.endswith("explicit")):
        return
    way, cure = _DIRECTIONS[direction]
    shown = repr(what)
    if isinstance(what, np.ndarray | np.generic):
        shown = f"a NumPy array of shape {what.shape} and dtype {what.dtype}"
    error = errors.TransferError(
        call,
        f"no transfer {way}, because transfer_guard_{direction}={level!r}",
        shown,
        fix=f"Allow it in `with functrax.transfer_guard_{direction}('allow'):`."
        if explicit
        else cure,
    )
    if not level.startswith("log"):
        raise error
    logging.getLogger("functrax").warning("transfer %s: %s (%s)", way, shown, error.where)
