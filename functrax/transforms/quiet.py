"""Programs that are run again for derivatives: they compute the same, and do nothing else."""

from functrax import errors
from functrax.core.jaxpr import Jaxpr, effects_of, program_cache
from functrax.lowering.inline import programs_of, with_programs


@program_cache
def quiet(jaxpr: Jaxpr, call: str) -> Jaxpr:
    """Return a program without its debug effects.

    Args:
        jaxpr: the program.
        call: what computes it again, for the message.

    Raises:
        ArgumentError: if it has effects that may not happen twice, and are needed.
    """
    if not jaxpr.effects:
        return jaxpr
    if "io" in jaxpr.effects:
        raise errors.ArgumentError(
            call,
            "no io_callback in what is computed again for derivatives",
            f"one in {jaxpr.name!r}",
            fix="Call it outside, and pass what it returns as an argument.",
        )
    eqns = [
        with_programs(eqn, {one: quiet(one, call) for one in programs_of(eqn)})
        for eqn in jaxpr.eqns
        if eqn.primitive.effects is None or not effects_of(eqn)
    ]
    return Jaxpr(jaxpr.constvars, jaxpr.invars, jaxpr.outvars, eqns, jaxpr.name)
