"""Collectives: operations across the positions of named axes.

An axis is named by `vmap`, `pmap` or `shard_map`. Over an axis of `vmap` a collective is an
ordinary operation on the mapped axis, which its batch rule writes; over an axis of devices it is
lowered to communication.

Every primitive keeps the rank of its operand, and its result at one position has the shape that
`abstract_eval` gives, whatever the axis is. Along the axes that are exact (see
`functrax.core.trace.NamedAxis`) the types say what varies: the functions here first make their
operands vary, so each rule knows what arrives.
"""

from functrax.primitives.collectives import arrivals as arrivals
from functrax.primitives.collectives import extremes as extremes
from functrax.primitives.collectives import gathers as gathers
from functrax.primitives.collectives import moves as moves
from functrax.primitives.collectives import positions as positions
from functrax.primitives.collectives import ragged as ragged
from functrax.primitives.collectives import sums as sums
