"""Random numbers: keys, and samplers that draw from a key; the same numbers as JAX's."""

from functrax.core.public import directory as _directory
from functrax.random.keys import PRNGKey as PRNGKey
from functrax.random.keys import clone as clone
from functrax.random.keys import fold_in as fold_in
from functrax.random.keys import key as key
from functrax.random.keys import key_data as key_data
from functrax.random.keys import key_dtype as key_dtype
from functrax.random.keys import key_impl as key_impl
from functrax.random.keys import split as split
from functrax.random.keys import wrap_key_data as wrap_key_data
from functrax.random.sampling_basic import bernoulli as bernoulli
from functrax.random.sampling_basic import bits as bits
from functrax.random.sampling_basic import rademacher as rademacher
from functrax.random.sampling_basic import randint as randint
from functrax.random.sampling_basic import uniform as uniform
from functrax.random.sampling_choice import categorical as categorical
from functrax.random.sampling_choice import choice as choice
from functrax.random.sampling_choice import permutation as permutation
from functrax.random.sampling_gumbel import gumbel as gumbel
from functrax.random.sampling_inverse import cauchy as cauchy
from functrax.random.sampling_inverse import exponential as exponential
from functrax.random.sampling_inverse import geometric as geometric
from functrax.random.sampling_inverse import laplace as laplace
from functrax.random.sampling_inverse import logistic as logistic
from functrax.random.sampling_inverse import pareto as pareto
from functrax.random.sampling_inverse import triangular as triangular
from functrax.random.sampling_inverse import weibull_min as weibull_min
from functrax.random.sampling_normal import double_sided_maxwell as double_sided_maxwell
from functrax.random.sampling_normal import lognormal as lognormal
from functrax.random.sampling_normal import maxwell as maxwell
from functrax.random.sampling_normal import normal as normal
from functrax.random.sampling_normal import rayleigh as rayleigh
from functrax.random.sampling_normal import truncated_normal as truncated_normal
from functrax.random.sampling_normal import wald as wald

__dir__ = _directory(__name__)
