"""Initial values of parameters: functions ``(key, shape, dtype) -> array``, and makers of them."""

from functrax.core.public import directory as _directory
from functrax.nn.initializers.distributions import Initializer as Initializer
from functrax.nn.initializers.distributions import constant as constant
from functrax.nn.initializers.distributions import normal as normal
from functrax.nn.initializers.distributions import ones as ones
from functrax.nn.initializers.distributions import truncated_normal as truncated_normal
from functrax.nn.initializers.distributions import uniform as uniform
from functrax.nn.initializers.distributions import zeros as zeros
from functrax.nn.initializers.named import glorot_normal as glorot_normal
from functrax.nn.initializers.named import glorot_uniform as glorot_uniform
from functrax.nn.initializers.named import he_normal as he_normal
from functrax.nn.initializers.named import he_uniform as he_uniform
from functrax.nn.initializers.named import kaiming_normal as kaiming_normal
from functrax.nn.initializers.named import kaiming_uniform as kaiming_uniform
from functrax.nn.initializers.named import lecun_normal as lecun_normal
from functrax.nn.initializers.named import lecun_uniform as lecun_uniform
from functrax.nn.initializers.named import xavier_normal as xavier_normal
from functrax.nn.initializers.named import xavier_uniform as xavier_uniform
from functrax.nn.initializers.scaling import variance_scaling as variance_scaling

__dir__ = _directory(__name__)
