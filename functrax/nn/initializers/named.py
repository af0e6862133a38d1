"""The named initializers: special cases of `variance_scaling`."""

from typing import Any

from functrax.nn.initializers.distributions import Initializer
from functrax.nn.initializers.scaling import Axes, variance_scaling


def glorot_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
) -> Initializer:
    """Return the Glorot (Xavier) uniform initializer: of variance 2 / (inputs + outputs).

    Args:
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> glorot_uniform()(key(0), (2, 3)).shape
        (2, 3)

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks" (AISTATS 2010).
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
) -> Initializer:
    """Return the Glorot (Xavier) normal initializer: of variance 2 / (inputs + outputs).

    Args:
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> glorot_normal()(key(0), (2, 3)).shape
        (2, 3)

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks" (AISTATS 2010).
    """
    return variance_scaling(
        1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype
    )


def lecun_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
) -> Initializer:
    """Return the LeCun uniform initializer: of variance 1 / inputs.

    Args:
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> lecun_uniform()(key(0), (2, 3)).shape
        (2, 3)

    Source: LeCun, Bottou, Orr, Müller, "Efficient backprop" (1998).
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def lecun_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
) -> Initializer:
    """Return the LeCun normal initializer: of variance 1 / inputs.

    Args:
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> lecun_normal()(key(0), (2, 3)).shape
        (2, 3)

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks" (NeurIPS
        2017).
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def he_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
) -> Initializer:
    """Return the He (Kaiming) uniform initializer: of variance 2 / inputs.

    Args:
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> he_uniform()(key(0), (2, 3)).shape
        (2, 3)

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers" (ICCV 2015).
    """
    return variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def he_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
) -> Initializer:
    """Return the He (Kaiming) normal initializer: of variance 2 / inputs.

    Args:
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> he_normal()(key(0), (2, 3)).shape
        (2, 3)

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers" (ICCV 2015).
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal
