"""Building blocks of neural networks."""

from functrax.core.public import directory as _directory
from functrax.nn import initializers as initializers
from functrax.nn.attention import dot_product_attention as dot_product_attention
from functrax.nn.functions import celu as celu
from functrax.nn.functions import elu as elu
from functrax.nn.functions import gelu as gelu
from functrax.nn.functions import glu as glu
from functrax.nn.functions import hard_sigmoid as hard_sigmoid
from functrax.nn.functions import hard_silu as hard_silu
from functrax.nn.functions import hard_swish as hard_swish
from functrax.nn.functions import hard_tanh as hard_tanh
from functrax.nn.functions import identity as identity
from functrax.nn.functions import leaky_relu as leaky_relu
from functrax.nn.functions import log1mexp as log1mexp
from functrax.nn.functions import log_sigmoid as log_sigmoid
from functrax.nn.functions import logsumexp as logsumexp
from functrax.nn.functions import mish as mish
from functrax.nn.functions import relu as relu
from functrax.nn.functions import relu6 as relu6
from functrax.nn.functions import selu as selu
from functrax.nn.functions import sigmoid as sigmoid
from functrax.nn.functions import silu as silu
from functrax.nn.functions import soft_sign as soft_sign
from functrax.nn.functions import softplus as softplus
from functrax.nn.functions import sparse_plus as sparse_plus
from functrax.nn.functions import sparse_sigmoid as sparse_sigmoid
from functrax.nn.functions import squareplus as squareplus
from functrax.nn.functions import swish as swish
from functrax.nn.functions import tanh as tanh
from functrax.nn.normalization import log_softmax as log_softmax
from functrax.nn.normalization import logmeanexp as logmeanexp
from functrax.nn.normalization import one_hot as one_hot
from functrax.nn.normalization import softmax as softmax
from functrax.nn.normalization import standardize as standardize

__dir__ = _directory(__name__)
