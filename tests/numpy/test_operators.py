"""Python's operators and the methods of arrays. The oracle is jax.numpy: values, shapes, dtypes
and weak types.
"""

import pytest

from tests.numpy.compare import check, rows

CASES = rows(r"""
f+1
f*2.0
2.0*f
1-f
1/f
f/2
i/2
i//2
2//j
f%2
i%-3
f**2
f**-1
i**2
2**j
f**0.5
b+1
b*2.5
-f
+f
~i
~b
abs(f)
i<<1
i>>1
i&3
b|True
i^i
f==f
f!=0
f<1
f>=g
f@g
f.T@f
f.sum(0)
f.mean(axis=1)
f.astype(int)
f.astype('bfloat16')+1
h+1.0
h*f
u+1
u+i
u-1
f.reshape(3, 2)
f.reshape(-1)
f.reshape((3, -1))
f.ravel()
f.T
t.mT
f.max(axis=-1, keepdims=True)
f.argmax(1)
f.clip(0, 1)
i.clip(0, 2.5)
f.round(1)
f.transpose(1, 0)
f.var(ddof=1)
f.std(0)
divmod(i, 2)
round(f, 1)
f[0]
f[:, 1]
f[..., None]
list(f)[1]
f.at[0].set(1)
f==None
f=='a'
f+np.ones((2, 3))
np.ones((2, 3))+f
np.float32(2)*f
np.float64(2)*h
f**np.int32(2)
1.0+c
1j*f
i*1j
f.at[0, 1].add(3)
u+255
2.0**f
f.real
c.imag
c.conj()
f.dot(g)
f.flatten()
f.squeeze()
f.swapaxes(0, 1)
f.any()
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)
